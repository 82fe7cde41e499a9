/* SPDX-License-Identifier: Apache-2.0 */
#include "device.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>

namespace emulated {

std::recursive_mutex lock;
thread_local CUctx_st *current;

namespace {

CUresult taken_down = CUDA_SUCCESS;
std::set<stream *> streams;
std::map<std::string, unsigned long long> calls; /* while faults are asked for */

unsigned long long setting(const char *name, unsigned long long otherwise) {
  const char *text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

int device_count() {
  auto count = static_cast<int>(setting("TANDEM_EMULATED_DEVICES", 1));
  return count < most_devices ? count : most_devices;
}
int compute_capability() {
  return static_cast<int>(setting("TANDEM_EMULATED_CC", 90));
}
size_t memory_bytes() {
  return setting("TANDEM_EMULATED_MEMORY", 4ULL << 30);
}

CUctx_st *context_of(int device) {
  static CUctx_st contexts[most_devices];
  contexts[device].device = device;
  return &contexts[device];
}

CUresult lost() {
  return taken_down;
}
void lose(CUresult result) {
  if (taken_down == CUDA_SUCCESS) taken_down = result;
}

void recover() {
  taken_down = CUDA_SUCCESS;
  calls.clear();
}

/* One entry of TANDEM_EMULATED_FAIL against the count-th call of `name`. */
static CUresult matches(const std::string &entry, const std::string &name, unsigned long long count) {
  size_t colon = entry.find(':'), equals = entry.find('=');
  if (colon == std::string::npos || equals == std::string::npos || entry.compare(0, colon, name) != 0 ||
      colon != name.size()) {
    return CUDA_SUCCESS;
  }
  unsigned long long from = std::strtoull(entry.c_str() + colon + 1, nullptr, 10);
  bool onwards = entry[equals - 1] == '+';
  if (count != from && !(onwards && count > from)) return CUDA_SUCCESS;
  return static_cast<CUresult>(std::atoi(entry.c_str() + equals + 1));
}

CUresult injected(const char *name) {
  const char *text = std::getenv("TANDEM_EMULATED_FAIL");
  if (!text || !*text) return CUDA_SUCCESS;
  unsigned long long count = ++calls[name];
  std::string rest = text;
  while (!rest.empty()) {
    size_t comma = rest.find(',');
    CUresult result = matches(rest.substr(0, comma), name, count);
    if (result >= CUDA_ERROR_ILLEGAL_ADDRESS) lose(result);
    if (result != CUDA_SUCCESS) return result;
    rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
  }
  return CUDA_SUCCESS;
}

CUresult enqueue(const std::shared_ptr<stream> &on, work what) {
  if (on->capturing) {
    on->captured.push_back(std::move(what));
    return CUDA_SUCCESS;
  }
  streams.insert(on.get());
  on->queue.push_back(std::move(what));
  on->queued++;
  return CUDA_SUCCESS;
}

CUresult drain(stream &of, uint64_t position) {
  while (of.done < position && !of.queue.empty() && taken_down == CUDA_SUCCESS) {
    work next = std::move(of.queue.front());
    of.queue.pop_front();
    CUresult result = injected("execute");
    if (result == CUDA_SUCCESS) result = next();
    of.done++;
    if (result != CUDA_SUCCESS) lose(result);
  }
  if (of.queue.empty()) streams.erase(&of);
  return taken_down;
}

void forget(stream &gone) {
  streams.erase(&gone);
}

CUresult drain_all() {
  while (!streams.empty() && taken_down == CUDA_SUCCESS) drain(**streams.begin(), (*streams.begin())->queued);
  return taken_down;
}

}  // namespace emulated
