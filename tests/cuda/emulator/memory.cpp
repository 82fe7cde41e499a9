/* SPDX-License-Identifier: Apache-2.0 */
#include <cstdio>
#include <cstdlib>
#include <map>

#include "cuda_on_host.h"
#include "device.h"
#include "poison.h"

namespace emulated {

namespace {

constexpr uint64_t tag = UINT64_C(0x00f0) << 48; /* no canonical address has these bits */
constexpr size_t guard = 256;                    /* before and behind; what cuMemAlloc aligns to */

struct allocation {
  size_t bytes;
  int device;
};
std::map<uint64_t, allocation> allocations; /* by host address of the first byte */
size_t used[most_devices];
int resolving; /* device */
uint64_t recent_begin, recent_end;

unsigned char *bytes_at(uint64_t address) {
  return reinterpret_cast<unsigned char *>(address);
}

/* The allocation that holds this host address or ends there; NULL if none does. */
const std::pair<const uint64_t, allocation> *find(uint64_t address) {
  auto next = allocations.upper_bound(address);
  if (next == allocations.begin()) return nullptr;
  --next;
  return address <= next->first + next->second.bytes ? &*next : nullptr;
}

}  // namespace

CUresult memory_take(int device, size_t bytes, CUdeviceptr *out) {
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  if (bytes > memory_bytes() - used[device]) return CUDA_ERROR_OUT_OF_MEMORY;
  size_t padded = (bytes + guard - 1) / guard * guard;
  void *block = std::aligned_alloc(guard, padded + 2 * guard);
  if (!block) return CUDA_ERROR_OUT_OF_MEMORY;
  auto *first = static_cast<unsigned char *>(block) + guard;
  guard_fill(first - guard, guard);
  poison_fill(first, bytes, padded - bytes + guard);
  uint64_t address = reinterpret_cast<uint64_t>(first);
  allocations[address] = {bytes, device};
  used[device] += bytes;
  *out = address | tag;
  return CUDA_SUCCESS;
}

CUresult memory_give_back(CUdeviceptr address) {
  auto found = allocations.find(address & ~tag);
  if ((address & tag) != tag || found == allocations.end()) return CUDA_ERROR_INVALID_VALUE;
  used[found->second.device] -= found->second.bytes;
  unsigned char *block = bytes_at(found->first) - guard;
  guard_open(block, found->second.bytes + 3 * guard);
  std::memset(block, poison_byte, found->second.bytes + guard);
  std::free(block);
  allocations.erase(found);
  recent_begin = recent_end = 0;
  return CUDA_SUCCESS;
}

void memory_give_back_all(int device) {
  std::vector<uint64_t> theirs;
  for (const auto &[first, one] : allocations) {
    if (one.device == device) theirs.push_back(first | tag);
  }
  for (uint64_t address : theirs) memory_give_back(address);
}

size_t memory_used(int device) {
  return used[device];
}

void *memory_at(int device, CUdeviceptr address, size_t bytes) {
  if ((address & tag) != tag) return nullptr;
  uint64_t plain = address & ~tag;
  const auto *found = find(plain);
  if (!found || found->second.device != device || plain + bytes > found->first + found->second.bytes) return nullptr;
  return bytes_at(plain);
}

void memory_of(int device) {
  resolving = device;
  recent_begin = recent_end = 0;
}

bool memory_intact() {
  for (const auto &[first, one] : allocations) {
    size_t behind = (one.bytes + guard - 1) / guard * guard - one.bytes + guard;
    const char *where = nullptr;
    if (!poison_intact(bytes_at(first) - guard, guard)) where = "before";
    if (!poison_intact(bytes_at(first) + one.bytes, behind)) where = "behind";
    if (!where) continue;
    std::fprintf(stderr, "emulated device: a write %s an allocation of %zu bytes\n", where, one.bytes);
    return false;
  }
  return true;
}

void *resolve(uint64_t address) {
  uint64_t plain = address & ~tag;
  if ((address & tag) == tag && plain >= recent_begin && plain < recent_end) return bytes_at(plain);
  const auto *found = (address & tag) == tag ? find(plain) : nullptr;
  if (!found) fail("address %#llx is not in device memory", static_cast<unsigned long long>(address));
  if (found->second.device != resolving)
    fail("address %#llx is another device's", static_cast<unsigned long long>(address));
  recent_begin = found->first;
  recent_end = found->first + found->second.bytes;
  return bytes_at(plain);
}

}  // namespace emulated
