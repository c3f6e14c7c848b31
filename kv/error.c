/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "error.h"

#include <errno.h>

#define STRING_OF(x) #x
#define STRING(x)    STRING_OF(x)

const char *pmkv_strerror(enum pmkv_status status)
{
    switch (status) {
#define SENTENCE(name, number, sentence)                                                           \
    case PMKV_##name:                                                                              \
        return sentence;
        PMKV_STATUS_MAP(SENTENCE)
#undef SENTENCE
    }
    return "unknown status";
}

const char *pmkv_status_name(enum pmkv_status status)
{
    switch (status) {
#define NAME(name, number, sentence)                                                               \
    case PMKV_##name:                                                                              \
        return "PMKV_" #name;
        PMKV_STATUS_MAP(NAME)
#undef NAME
    }
    return "unknown status";
}

const char *pmkv_errormsg(void)
{
    return err_message();
}

const char *pmkv_version(void)
{
    return STRING(PMKV_VERSION_MAJOR) "." STRING(PMKV_VERSION_MINOR) "." STRING(PMKV_VERSION_PATCH);
}

const char *pmkv_geometry_name(enum pmkv_geometry geometry)
{
    static const char *const names[] = {"parity", "double", "mirror", "none"};
    return (unsigned)geometry < 4 ? names[geometry] : "unknown";
}

enum pmkv_status status_of(int rc)
{
    switch (-rc) {
    case 0:
        return PMKV_OK;
    case EEXIST:
        return PMKV_E_EXISTS;
    case EINVAL:
        return PMKV_E_INVALID;
    case EBUSY:
        return PMKV_E_BUSY;
    case EACCES:
    case EPERM:
    case EROFS:
        return PMKV_E_ACCESS;
    case ENOENT:
    case ENOTDIR:
    case ENXIO:
    case ENODEV:
        return PMKV_E_NO_POOL;
    case EISDIR:
        return PMKV_E_NOT_POOL;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return PMKV_E_NO_SPACE;
    case ENOMEM:
        return PMKV_E_NO_MEMORY;
    case ENOTSUP:
    case ENOSYS:
        return PMKV_E_UNSUPPORTED;
    case EFAULT:
        return PMKV_E_MEDIA;
    default:
        return PMKV_E_IO;
    }
}
