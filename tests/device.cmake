# SPDX-License-Identifier: Apache-2.0
foreach(topic device_open kv_store kv_layout_faults device_runner device_queue device_steps device_sampling)
  tandem_test(${topic} SOURCES device/${topic}.c LINK tandem_device tandem_backends LABELS device)
endforeach()
