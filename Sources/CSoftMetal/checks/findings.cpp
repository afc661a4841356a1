#include "findings.h"

#include <algorithm>

namespace softmetal::checks {
namespace {

const char *Verb(uint32_t kind) {
  if (kind & kCheckAtomic) return kind & kCheckWrite ? "atomic write" : "atomic read";
  return kind & kCheckWrite ? "write" : "read";
}

std::string Times(uint64_t count) { return count == 1 ? "once" : std::to_string(count) + " times"; }

/// A finding whose instructions have been replaced by their lines.
struct Line {
  Finding finding;
  std::string tail;
  uint64_t order;
};

}  // namespace

void Sites::Enter(const void *entry, LineOf line_of) {
  modules_.push_back(std::make_unique<Code>(entry, std::move(line_of)));
  numbers_.clear();
  for (Cached &cached : cache_) cached = Cached();
}

uint32_t Sites::Number(const void *pc) {
  Cached &cached = cache_[(reinterpret_cast<uintptr_t>(pc) >> 1) % kCache];
  if (cached.pc == pc && pc != nullptr) return cached.number;
  auto [found, added] = numbers_.try_emplace(pc, static_cast<uint32_t>(sites_.size()));
  if (added) sites_.push_back({pc, modules_.empty() ? nullptr : modules_.back().get()});
  cached = {pc, found->second};
  return found->second;
}

SourceLine Sites::Line(uint32_t site) const {
  if (site >= sites_.size() || sites_[site].code == nullptr) return SourceLine();
  Code &code = *sites_[site].code;
  if (!code.line_of) return code.lines.UserLine(sites_[site].pc);
  auto [file, line] = code.line_of(sites_[site].pc);
  return {file, line};
}

void Sites::Clear() {
  modules_.clear();
  sites_.clear();
  numbers_.clear();
  for (Cached &cached : cache_) cached = Cached();
}

std::string Roster::Position(uint32_t threadgroup) const {
  if (threadgroup >= groups_.size()) return "?";
  const Group &group = groups_[threadgroup];
  return std::to_string(group.x) + "," + std::to_string(group.y) + "," + std::to_string(group.z);
}

bool Roster::IsEarlier(uint32_t threadgroup) const {
  return !dispatches_.empty() && threadgroup < dispatches_.back().first;
}

std::string Roster::Kernel(uint32_t threadgroup) const {
  auto after = std::upper_bound(dispatches_.begin(), dispatches_.end(), threadgroup,
                                [](uint32_t value, const Dispatch &dispatch) { return value < dispatch.first; });
  return after == dispatches_.begin() ? std::string() : (after - 1)->kernel;
}

std::string FindingLog::Who(const Party &party, bool with_group) const {
  std::string text = "thread " + std::to_string(party.actor.lane);
  if (with_group) text += " of threadgroup " + roster_->Position(party.actor.threadgroup);
  return text;
}

std::vector<Finding> FindingLog::Sorted() const {
  std::vector<Line> lines;
  for (const auto &[key, race] : races_) {
    Relation relation = std::get<4>(key);
    bool threadgroup_memory = std::get<5>(key);
    const Party *first = &race.a, *second = &race.b;
    SourceLine line = sites_->Line(first->site), other = sites_->Line(second->site);
    bool a_writes = first->kind & kCheckWrite, b_writes = second->kind & kCheckWrite;
    if (a_writes != b_writes ? b_writes : other < line) {
      std::swap(first, second);
      std::swap(line, other);
    }
    bool far = relation == Relation::kDispatch || relation == Relation::kEncoder;
    auto party = [&](const Party &p, const SourceLine &at) {
      std::string text = std::string(Verb(p.kind)) + " at " + at.Text() + " by " + Who(p, far);
      if (relation == Relation::kEncoder) {
        text += roster_->IsEarlier(p.actor.threadgroup) ? " in another dispatch, of \"" : " of \"";
        text += roster_->Kernel(p.actor.threadgroup) + "\"";
      }
      return text;
    };
    Line out;
    out.finding.kind = FindingKind::kRace;
    out.finding.text = std::string("data race on ") + (threadgroup_memory ? "threadgroup" : "device") +
                       " memory: " + party(*first, line) + " and " + party(*second, other);
    if (relation == Relation::kSimdgroup) out.finding.text += " of the same simdgroup";
    if (relation == Relation::kThreadgroup) out.finding.text += " of another simdgroup";
    out.finding.text += " (";
    if (!far) out.finding.text += "threadgroup " + roster_->Position(second->actor.threadgroup) + "; ";
    out.finding.text += race.place;
    if (relation == Relation::kEncoder) out.finding.text += "; no memoryBarrier between the dispatches";
    out.finding.text += ")";
    out.tail = std::string(Verb(first->kind)) + Verb(second->kind) + std::to_string(static_cast<uint32_t>(relation)) +
               (threadgroup_memory ? "t" : "d");
    SourceLine lower = std::min(line, other), upper = std::max(line, other);
    out.finding.file = lower.file;
    out.finding.line = lower.line;
    out.finding.other_line = upper.line;
    out.finding.count = race.count;
    out.tail += upper.file + (lower == line ? "<" : ">");
    out.order = race.order;
    lines.push_back(std::move(out));
  }
  for (const auto &[key, mistake] : mistakes_) {
    SourceLine at = sites_->Line(mistake.party.site);
    Line out;
    out.finding.kind = static_cast<FindingKind>(std::get<0>(key));
    out.finding.text = mistake.head + " at " + at.Text() + " by " + Who(mistake.party, true) + ": " + mistake.text;
    out.finding.file = at.file;
    out.finding.line = at.line;
    out.finding.count = mistake.count;
    out.tail = mistake.head;
    out.order = mistake.order;
    lines.push_back(std::move(out));
  }
  auto rank = [](const Line &l) {
    return std::tie(l.finding.file, l.finding.line, l.finding.other_line, l.finding.kind, l.tail, l.order);
  };
  std::sort(lines.begin(), lines.end(), [&](const Line &a, const Line &b) { return rank(a) < rank(b); });

  // An unrolled loop has several instructions of one line: the first found speaks for all.
  std::vector<Finding> findings;
  const Line *last = nullptr;
  for (const Line &line : lines) {
    bool same = last != nullptr && last->finding.file == line.finding.file && last->finding.line == line.finding.line &&
                last->finding.other_line == line.finding.other_line && last->finding.kind == line.finding.kind &&
                last->tail == line.tail && !line.finding.file.empty();
    if (same)
      findings.back().count += line.finding.count;
    else
      findings.push_back(line.finding);
    last = &line;
  }
  for (Finding &finding : findings) finding.text += "; " + Times(finding.count);
  if (!note_.empty()) {
    Finding note;
    note.kind = FindingKind::kLimit;
    note.text = note_;
    note.count = 1;
    findings.push_back(note);
  }
  return findings;
}

}  // namespace softmetal::checks
