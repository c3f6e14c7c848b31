# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

# Tests with rules of their own.
include(tests/sched/sched.cmake)
include(tests/sharing/sharing.cmake)

# Stress programs once more, in another way.
function(pmkv_stress_again name program)
    add_test(NAME stress/${name} COMMAND ${program} ${ARGN})
    pmkv_test_properties(stress/${name} stress)
endfunction()

pmkv_stress_again(kill9_stops_and_poison stress_kill9
                  --stops 3 --poison --run-ms 500 --pool-mib 64 --dir /dev/shm)
pmkv_stress_again(concurrent_ordered stress_concurrent --ordered)
pmkv_stress_again(concurrent_64 stress_concurrent --writers 32 --readers 32 --pool-mib 96)
