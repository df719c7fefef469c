// A plugin for QEMU that counts the instructions of a program and writes their number to stderr when it ends:
//   qemu-aarch64 -plugin ./instructions.so PROGRAM …
// QEMU's packages come without the header of its plugins; these are the few declarations that are needed (version 1 of
// the interface, QEMU 4.2 to 8.1).
#include <cstddef>
#include <cstdint>
#include <cstdio>

extern "C" {
#define EXPORT __attribute__((visibility("default")))
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;  // a block of instructions that QEMU translates at once
size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*translated)(qemu_plugin_id_t, qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(qemu_plugin_tb *, void (*executed)(unsigned cpu, void *data), int flags,
                                          void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*at_end)(qemu_plugin_id_t, void *data), void *data);
EXPORT int qemu_plugin_version = 1;

static uint64_t counted = 0;  // by the one thread there is

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *, int, char **) {
  qemu_plugin_register_vcpu_tb_trans_cb(id, [](qemu_plugin_id_t, qemu_plugin_tb *block) {
    const auto add = [](unsigned, void *size) { counted += reinterpret_cast<uintptr_t>(size); };
    qemu_plugin_register_vcpu_tb_exec_cb(block, add, 0, reinterpret_cast<void *>(qemu_plugin_tb_n_insns(block)));
  });
  const auto report = [](qemu_plugin_id_t, void *) {
    std::fprintf(stderr, "instructions: %llu\n", static_cast<unsigned long long>(counted));
  };
  qemu_plugin_register_atexit_cb(id, report, nullptr);
  return 0;
}
}
