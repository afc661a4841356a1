"""The interfaces of other libraries, with their own conventions, computed by pyfa."""
