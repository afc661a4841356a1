// What a checked dispatch did wrong, gathered and put into words.
#ifndef SOFTMETAL_CHECKS_FINDINGS_H
#define SOFTMETAL_CHECKS_FINDINGS_H

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "checks.h"
#include "source_lines.h"

namespace softmetal::checks {

/// Instructions by number, over all dispatches of a history.
class Sites {
 public:
  using LineOf = std::function<std::pair<std::string, uint32_t>(const void *pc)>;
  /// A dispatch begins, of a kernel in the module that holds `entry`. `line_of`, if any, knows its lines.
  void Enter(const void *entry, LineOf line_of);
  uint32_t Number(const void *pc);
  SourceLine Line(uint32_t site) const;
  void Clear();

 private:
  struct Code {
    Code(const void *entry, LineOf known) : lines(entry), line_of(std::move(known)) {}
    ModuleLines lines;
    LineOf line_of;
  };
  struct Site {
    const void *pc;
    Code *code;
  };
  static constexpr uint32_t kCache = 512;
  struct Cached {
    const void *pc = nullptr;
    uint32_t number = 0;
  };
  std::vector<std::unique_ptr<Code>> modules_;
  std::vector<Site> sites_;
  std::unordered_map<const void *, uint32_t> numbers_;  // of the current dispatch
  Cached cache_[kCache];
};

/// Who did it.
struct Actor {
  uint32_t lane = 0;
  uint32_t threadgroup = 0;  ///< serial number
};

/// Names threadgroups and dispatches by serial number.
class Roster {
 public:
  void StartDispatch(std::string kernel) { dispatches_.push_back({Size(), std::move(kernel)}); }
  uint32_t Add(uint32_t x, uint32_t y, uint32_t z) {
    groups_.push_back({x, y, z});
    return Size() - 1;
  }
  void Clear() {
    groups_.clear();
    dispatches_.clear();
  }
  /// "3,0,0"
  std::string Position(uint32_t threadgroup) const;
  bool IsEarlier(uint32_t threadgroup) const;
  /// The kernel of the threadgroup's dispatch.
  std::string Kernel(uint32_t threadgroup) const;

 private:
  struct Dispatch {
    uint32_t first;
    std::string kernel;
  };
  struct Group {
    uint32_t x, y, z;
  };
  uint32_t Size() const { return static_cast<uint32_t>(groups_.size()); }
  std::vector<Group> groups_;
  std::vector<Dispatch> dispatches_;
};

/// Findings of one dispatch, each kind of mistake of the same instructions counted once.
class FindingLog {
 public:
  FindingLog(const Sites *sites, const Roster *roster) : sites_(sites), roster_(roster) {}

  struct Party {
    uint32_t site = 0;
    uint32_t kind = 0;
    Actor actor;
  };
  /// `relation` and `place` are asked for once: "of the same simdgroup", "byte 12 of buffer 3".
  enum class Relation : uint32_t { kSimdgroup, kThreadgroup, kDispatch, kEncoder };
  template <typename Place>
  void AddRace(const Party &a, const Party &b, Relation relation, bool threadgroup_memory, Place place) {
    Race &race = races_[RaceKey(a.site, b.site, a.kind, b.kind, relation, threadgroup_memory)];
    if (race.count++ == 0) {
      race.a = a;
      race.b = b;
      race.place = place();
      race.order = order_++;
    }
  }
  /// `text` tells the rest of the sentence, after "<head> at <line> by thread …: ".
  template <typename Text>
  void AddMistake(FindingKind kind, const char *head, const Party &party, Text text) {
    Mistake &mistake = mistakes_[{static_cast<uint32_t>(kind), party.site, party.kind}];
    if (mistake.count++ == 0) {
      mistake.head = head;
      mistake.party = party;
      mistake.text = text();
      mistake.order = order_++;
    }
  }
  void AddNote(std::string text) { note_ = std::move(text); }

  std::vector<Finding> Sorted() const;

 private:
  using RaceKey = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t, Relation, bool>;
  struct Race {
    uint64_t count = 0;
    Party a, b;
    std::string place;
    uint64_t order = 0;
  };
  struct Mistake {
    uint64_t count = 0;
    std::string head;
    Party party;
    std::string text;
    uint64_t order = 0;
  };
  std::string Who(const Party &party, bool with_group) const;

  const Sites *sites_;
  const Roster *roster_;
  std::map<RaceKey, Race> races_;
  std::map<std::tuple<uint32_t, uint32_t, uint32_t>, Mistake> mistakes_;
  std::string note_;
  uint64_t order_ = 0;
};

}  // namespace softmetal::checks

#endif
