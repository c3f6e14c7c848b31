#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""Proves that the layers are what docs/design.md says.

1. Includes go down only. recovery/ includes nothing of kv/; kv/ includes kv/ and recovery/; tools/
   and bench/ see of the library the public header alone, and otherwise headers of their own folder.
2. One door to the medium. Only recovery/media* and recovery/mcsafe* contain intrinsics, inline
   assembly, fences, cache flushes, fsync and its kin, or the address of the mapping. Crash
   enumeration on the sim backend holds because of that. ALLOWED lists the exceptions, each with its
   reason; an exception that is no longer needed fails too.

usage: include_direction.py ROOT | --self-test
"""

import os
import re
import sys
import tempfile

SUFFIXES = (".c", ".h", ".S")

# (file, rule): why it is no door to the medium.
ALLOWED = {
    ("bench/micro.c", "include recovery/mcsafe.h"): "measures the safe copies beside memcpy",
    ("bench/micro.c", "mapping"): "the copies it measures, on memory of its own",
    ("bench/micro.c", "assembly"): "empty barriers for the optimiser",
    ("bench/limit.c", "intrinsic"): "what the machine can do at best, on memory of its own",
    ("bench/limit.c", "assembly"): "empty barriers for the optimiser",
    ("recovery/hash_avx512.c", "intrinsic"): "arithmetic on private memory, eight hashes at once",
    ("bench/clock.c", "intrinsic"): "asks if the time stamp counter is steady",
    ("bench/clock.h", "intrinsic"): "reads the time stamp counter",
}

RULES = {
    "intrinsic": r"\b_mm(?:256|512)?_\w+|\b__builtin_ia32_\w+|\b__m(?:128|256|512)[id]?\b"
                 r"|#\s*include\s*<(?:\w*intrin|cpuid)\.h>",
    "assembly": r"\b(?:__)?asm(?:__)?\s*(?:volatile|__volatile__|goto|inline)?\s*[({]",
    "fence": r"\b[slm]fence\b|\b_?clwb\b|\bclflush(?:opt)?\b|\bmovnt\w+\b"
             r"|\bpmem2?_(?:persist|flush|drain|memcpy\w*|memmove\w*|memset\w*|deep_\w+)\b|\bmc_fence\b",
    "sync": r"\b(?:fsync|fdatasync|msync|syncfs|sync_file_range)\b",
    "mapping": r"\b(?:\w*media|m)\s*(?:->|\.)\s*base\b|\bmc_(?:load|store_\w+|touch)\b",
}
RULES = {name: re.compile(pattern) for name, pattern in RULES.items()}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
# Comments, strings and character constants; includes are looked at before strings are blanked.
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def without_comments(text):
    return NOISE.sub(lambda m: blank(m) if m.group(0)[0] == "/" else m.group(0), text)


def without_noise(text):
    return NOISE.sub(blank, text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def sources(root):
    for top in ("kv", "recovery", "tools", "bench"):
        for folder, _, files in os.walk(os.path.join(root, top)):
            for name in sorted(files):
                if name.endswith(SUFFIXES):
                    yield os.path.relpath(os.path.join(folder, name), root)


def target_of(root, path, quote, name):
    """The file of this project that an include means, or None for one of the system."""
    places = [os.path.join(os.path.dirname(path), name)] if quote == '"' else []
    places += [name, os.path.join("kv", name) if name == "pmkv.h" else name]
    for place in places:
        place = os.path.normpath(place)
        if not place.startswith("..") and os.path.isfile(os.path.join(root, place)):
            return place
    return None


def include_is_down(path, target):
    top, target_top = path.split(os.sep)[0], target.split(os.sep)[0]
    if top == "recovery":
        return target_top == "recovery"
    if top == "kv":
        return target_top in ("kv", "recovery")
    if target == os.path.join("kv", "pmkv.h"):
        return True
    return os.path.dirname(target) == os.path.dirname(path)


def check_includes(root, path, text, used):
    for match in INCLUDE.finditer(text):
        quote, name = match.groups()
        where = f"{path}:{line_of(text, match.start(2))}"
        target = target_of(root, path, quote, name)
        if target is None:
            if quote == '"':
                yield f'{where}: "{name}" is not a file of this project (system headers take <>)'
        elif (path, f"include {target}") in ALLOWED:
            used.add((path, f"include {target}"))
        elif not include_is_down(path, target):
            yield f"{where}: includes {target}: that is not down"


def is_door(path):
    return re.match(r"recovery/(media/|media[^/]*$|mcsafe[^/]*$)", path) is not None


def check_door(path, text, used):
    if is_door(path):
        return
    for rule, pattern in RULES.items():
        for match in pattern.finditer(text):
            if (path, rule) in ALLOWED:
                used.add((path, rule))
            else:
                yield (f"{path}:{line_of(text, match.start())}: {rule}: '{match.group(0).strip()}' "
                       "belongs behind recovery/media.h")


def check_tree(root):
    """Returns (number of files, list of violations)."""
    found, used, count = [], set(), 0
    for path in sources(root):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            text = file.read()
        found += check_includes(root, path, without_comments(text), used)
        found += check_door(path, without_noise(text), used)
        count += 1
    for path, rule in sorted(set(ALLOWED) - used):
        found.append(f"{path}: the exception for '{rule}' is not needed: remove it")
    return count, found


# --- the check checked ----------------------------------------------------------------------------

CASES = [
    # (file, text, words of the violation or None)
    ("recovery/a.c", '#include "media.h"\n', None),
    ("recovery/a.c", '#include "../kv/store.h"\n', "not down"),
    ("recovery/a.c", '#include "kv/store.h"\n', "not down"),
    ("recovery/a.c", "#include <pmkv.h>\n", "not down"),
    ("recovery/a.c", '/* #include "kv/store.h" */\n', None),
    ("recovery/media/a.c", '#include "../media.h"\n', None),
    ("recovery/media/a.c", '#include "../../kv/store.h"\n', "not down"),
    ("kv/a.c", '#include "recovery/media.h"\n#include "store.h"\n#include <stdio.h>\n', None),
    ("kv/a.c", '#include "../tools/cli/verb.h"\n', "not down"),
    ("kv/a.c", '#include "tests/support/x.h"\n', "not a file"),
    ("tools/cli/a.c", '#include "verb.h"\n#include <pmkv.h>\n', None),
    ("tools/cli/a.c", '#include "kv/store.h"\n', "not down"),
    ("tools/cli/a.c", '#include "recovery/media.h"\n', "not down"),
    ("bench/a.c", '#include "../tools/cli/verb.h"\n', "not down"),
    ("kv/a.c", "void f(void) { _mm_sfence(); }\n", "intrinsic"),
    ("kv/a.c", "#include <immintrin.h>\n", "intrinsic"),
    ("recovery/a.c", "__m256i v;\n", "intrinsic"),
    ("kv/a.c", '__asm__ volatile("nop");\n', "assembly"),
    ("recovery/a.S", "f: sfence\n ret\n", "fence"),
    ("kv/a.c", "int f(int fd) { return fdatasync(fd); }\n", "sync"),
    ("tools/cli/a.c", "int f(void *p) { return msync(p, 1, 4); }\n", "sync"),
    ("kv/a.c", "char *f(struct store *s) { return s->media->base + 1; }\n", "mapping"),
    ("kv/a.c", "char *f(struct media *m) { return m->base; }\n", "mapping"),
    ("kv/a.c", "void f(void) { mc_load(0, 0, 0); }\n", "mapping"),
    ("kv/a.c", 'const char *s = "sfence m->base fdatasync";\n', None),
    ("kv/a.c", "/* sfence, m->base */ // fdatasync\n", None),
    ("kv/a.c", "int f(struct row *row) { return row->base; }\n", None),
    ("recovery/media/a.c", "void f(struct media *m) { msync(m->base, 1, 4); }\n", None),
    ("recovery/mcsafe_x.S", "f: sfence\n ret\n", None),
]


def self_test():
    failed = 0
    allowed = dict(ALLOWED)
    ALLOWED.clear()
    cases = list(CASES)
    for path, text, words in cases:
        with tempfile.TemporaryDirectory() as root:
            for name in ("recovery/media.h", "kv/store.h", "kv/pmkv.h", "tools/cli/verb.h"):
                os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
                open(os.path.join(root, name), "w").close()
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
            _, found = check_tree(root)
        good = not found if words is None else any(words in line for line in found)
        if not good:
            failed += 1
            print(f"self-test: {path}: {text!r}: wanted {words!r}, got {found}")
    ALLOWED[("kv/gone.c", "sync")] = "a stale exception"
    with tempfile.TemporaryDirectory() as root:
        if not any("not needed" in line for line in check_tree(root)[1]):
            failed += 1
            print("self-test: a stale exception was not noticed")
    ALLOWED.clear()
    ALLOWED.update(allowed)
    print(f"include direction self-test: {len(cases) + 1 - failed} passed, {failed} failed")
    return 1 if failed else 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    count, found = check_tree(arguments[0])
    for line in found:
        print(line)
    if count == 0:
        print(f"no sources under {arguments[0]}")
        return 1
    print(f"include direction: {count} files, {len(found)} violations, "
          f"{len(ALLOWED)} exceptions")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
