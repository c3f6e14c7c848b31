/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "nd.h"

#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <ndctl/libndctl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "../errmsg.h"

enum { SECTOR_BYTES = 512 };

/* Does this NVDIMM dax region hold the character device? */
static bool holds_device(struct ndctl_dax *dax, dev_t device)
{
    struct daxctl_region *region = ndctl_dax_get_daxctl_region(dax);
    struct daxctl_dev *dev;
    if (!region)
        return false;
    daxctl_dev_foreach(region,
                       dev) if (daxctl_dev_get_major(dev) == (int)major(device) &&
                                daxctl_dev_get_minor(dev) == (int)minor(device)) return true;
    return false;
}

static struct ndctl_namespace *find_in_bus(struct ndctl_bus *bus, dev_t device)
{
    struct ndctl_region *region;
    struct ndctl_dax *dax;
    ndctl_region_foreach(bus, region) ndctl_dax_foreach(
        region, dax) if (holds_device(dax, device)) return ndctl_dax_get_namespace(dax);
    return NULL;
}

static int inject_in(struct ndctl_bus *bus, struct ndctl_namespace *ns, uint64_t off,
                     uint64_t bytes)
{
    if (!ndctl_bus_has_error_injection(bus))
        return err_fact(-ENOTSUP, "bus %s has no error injection", ndctl_bus_get_provider(bus));
    unsigned flags = 1u << NDCTL_NS_INJECT_NOTIFY | 1u << NDCTL_NS_INJECT_SATURATE;
    int rc = ndctl_namespace_inject_error2(ns, off / SECTOR_BYTES, bytes / SECTOR_BYTES, flags);
    return rc < 0 ? err_fact(-ENOTSUP, "bus %s refused the injection: %s",
                             ndctl_bus_get_provider(bus), strerror(-rc))
                  : 0;
}

int nd_inject_error(dev_t device, uint64_t off, uint64_t bytes)
{
    struct ndctl_ctx *ctx = NULL;
    int rc = ndctl_new(&ctx);
    if (rc < 0)
        return err_fact(-ENOTSUP, "libndctl: %s", strerror(-rc));
    rc = err_fact(-ENOTSUP, "device %u:%u is on no NVDIMM bus", major(device), minor(device));
    struct ndctl_bus *bus;
    ndctl_bus_foreach(ctx, bus)
    {
        struct ndctl_namespace *ns = find_in_bus(bus, device);
        if (ns) {
            rc = inject_in(bus, ns, off, bytes);
            break;
        }
    }
    ndctl_unref(ctx);
    return rc;
}
