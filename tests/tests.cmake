# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

# Tests with rules of their own.
include(tests/sched/sched.cmake)
