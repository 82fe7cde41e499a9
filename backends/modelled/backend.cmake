# SPDX-License-Identifier: Apache-2.0
target_link_libraries(tandem_backend_modelled INTERFACE tandem_lpu tandem_cost)
