// nothing
/* at all */