/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The firmware half of an emulated NVDIMM. QEMU's bus knows no bad blocks: it lists none and clears
 * none. This module answers the four commands of the bus that are about them (address range scrub:
 * capabilities, start, status; and clear error) from a list of its own, so that everything above,
 * the kernel's lists, its recovery write, ndctl, is the real thing.
 *
 * In /sys/kernel/debug/pmem_firmware:
 *   inject      write "PHYS BYTES [zap]": bad from now on, and the kernel is told. zap takes the
 *               pages out of every mapping, since only a new fault looks at the kernel's list
 *   bad         read: what is bad, "PHYS BYTES" a line
 *   cleared     read: how many clear-error commands succeeded
 *   fail_clear  write 1: clear error fails from now on
 *
 * This directory alone is under the GPL, as a module of the kernel is; nothing else is linked with
 * it. The memory itself keeps its bytes: who wants them gone overwrites the image from outside.
 */
#include <linux/acpi.h>
#include <linux/badblocks.h>
#include <linux/debugfs.h>
#include <linux/libnvdimm.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nd.h>
#include <linux/ndctl.h>
#include <linux/pagemap.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

static struct device *bus_device;
static struct nvdimm_bus *bus;
static struct nvdimm_bus_descriptor *bus_descriptor;
static ndctl_fn command_before;
static unsigned long commands_before;
static struct badblocks bad; /* in sectors of the physical address space */
static struct dentry *directory;
static u32 fail_clear, cleared;

static const unsigned long commands =
    BIT(ND_CMD_ARS_CAP) | BIT(ND_CMD_ARS_START) | BIT(ND_CMD_ARS_STATUS) | BIT(ND_CMD_CLEAR_ERROR);

/* The next bad range at or after *at; moves *at behind it. */
static bool next_bad(sector_t *at, u64 *phys, u64 *bytes)
{
    sector_t first;
    int sectors;

    if (!badblocks_check(&bad, *at, INT_MAX, &first, &sectors))
        return false;
    *phys = (u64)first << SECTOR_SHIFT;
    *bytes = (u64)sectors << SECTOR_SHIFT;
    *at = first + sectors;
    return true;
}

/* --- the commands ----------------------------------------------------------------------------- */

static void ars_capabilities(struct nd_cmd_ars_cap *cap)
{
    cap->status = (ND_ARS_VOLATILE | ND_ARS_PERSISTENT) << 16;
    cap->max_ars_out = SZ_4K;
    cap->clear_err_unit = SECTOR_SIZE;
    cap->flags = 0;
}

static void ars_status(struct nd_cmd_ars_status *status, unsigned int len)
{
    u32 room = (len - sizeof(*status)) / sizeof(struct nd_ars_record);
    u64 phys, bytes;
    sector_t at = 0;

    memset(status, 0, sizeof(*status));
    status->length = U64_MAX;
    status->type = ND_ARS_PERSISTENT;
    while (status->num_records < room && next_bad(&at, &phys, &bytes)) {
        struct nd_ars_record *record = &status->records[status->num_records++];

        record->handle = 0;
        record->err_address = phys;
        record->length = bytes;
    }
    status->out_length = sizeof(*status) + status->num_records * sizeof(struct nd_ars_record);
}

static int clear_error(struct nd_cmd_clear_error *clear)
{
    if (fail_clear) {
        clear->status = 3;
        clear->cleared = 0;
        return -EIO;
    }
    badblocks_clear(&bad, clear->address >> SECTOR_SHIFT, clear->length >> SECTOR_SHIFT);
    clear->status = 0;
    clear->cleared = clear->length;
    cleared++;
    return 0;
}

static int answer(struct nvdimm_bus_descriptor *descriptor, struct nvdimm *dimm, unsigned int cmd,
                  void *buf, unsigned int len, int *cmd_rc)
{
    int rc = 0;

    if (dimm || cmd >= BITS_PER_LONG || !(commands & BIT(cmd)))
        return command_before ? command_before(descriptor, dimm, cmd, buf, len, cmd_rc) : -ENOTTY;
    if (cmd == ND_CMD_ARS_CAP)
        ars_capabilities(buf);
    else if (cmd == ND_CMD_ARS_START)
        ((struct nd_cmd_ars_start *)buf)->status = 0;
    else if (cmd == ND_CMD_ARS_STATUS)
        ars_status(buf, len);
    else
        rc = clear_error(buf);
    if (cmd_rc)
        *cmd_rc = rc;
    return 0;
}

/* --- injection -------------------------------------------------------------------------------- */

static int tell_region(struct device *device, void *unused)
{
    if (strncmp(dev_name(device), "region", 6) == 0)
        nvdimm_region_notify(to_nd_region(device), NVDIMM_REVALIDATE_POISON);
    return 0;
}

static void unmap_page(u64 phys)
{
    struct page *page = pfn_to_page(PHYS_PFN(phys));
    struct address_space *mapping = READ_ONCE(page->mapping);

    if (mapping && !((unsigned long)mapping & 3)) /* low bits: it is none */
        unmap_mapping_range(mapping, (loff_t)page->index << PAGE_SHIFT, PAGE_SIZE, 0);
}

static ssize_t inject_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
    char text[80], zap[4] = "";
    unsigned long long phys, bytes;

    if (count >= sizeof(text) || copy_from_user(text, from, count))
        return -EINVAL;
    text[count] = 0;
    if (sscanf(text, "%lli %lli %3s", &phys, &bytes, zap) < 2 || bytes < SECTOR_SIZE)
        return -EINVAL;
    badblocks_set(&bad, phys >> SECTOR_SHIFT, bytes >> SECTOR_SHIFT, 1);
    nvdimm_bus_add_badrange(bus, phys, bytes);
    device_for_each_child(bus_device, NULL, tell_region);
    if (strcmp(zap, "zap") == 0)
        for (u64 at = phys & PAGE_MASK; at < phys + bytes; at += PAGE_SIZE)
            unmap_page(at);
    return count;
}

static const struct file_operations inject_fops = {
    .owner = THIS_MODULE,
    .open = simple_open,
    .write = inject_write,
};

static int bad_show(struct seq_file *seq, void *unused)
{
    u64 phys, bytes;
    sector_t at = 0;

    while (next_bad(&at, &phys, &bytes))
        seq_printf(seq, "%#llx %llu\n", phys, bytes);
    return 0;
}
DEFINE_SHOW_ATTRIBUTE(bad);

/* --- in and out ------------------------------------------------------------------------------- */

static int is_bus(struct device *device, void *unused)
{
    return strncmp(dev_name(device), "ndbus", 5) == 0;
}

static int __init firmware_init(void)
{
    struct acpi_device *nfit = acpi_dev_get_first_match_dev("ACPI0012", NULL, -1);

    if (!nfit)
        return -ENODEV;
    bus_device = device_find_child(&nfit->dev, NULL, is_bus);
    acpi_dev_put(nfit);
    if (!bus_device)
        return -ENODEV;
    if (badblocks_init(&bad, 1)) {
        put_device(bus_device);
        return -ENOMEM;
    }
    bus = to_nvdimm_bus(bus_device);
    bus_descriptor = to_nd_desc(bus);
    command_before = bus_descriptor->ndctl;
    commands_before = bus_descriptor->cmd_mask;
    bus_descriptor->cmd_mask |= commands;
    bus_descriptor->ndctl = answer;
    directory = debugfs_create_dir("pmem_firmware", NULL);
    debugfs_create_file("inject", 0200, directory, NULL, &inject_fops);
    debugfs_create_file("bad", 0400, directory, NULL, &bad_fops);
    debugfs_create_u32("cleared", 0400, directory, &cleared);
    debugfs_create_u32("fail_clear", 0600, directory, &fail_clear);
    return 0;
}

static void __exit firmware_exit(void)
{
    debugfs_remove_recursive(directory);
    bus_descriptor->ndctl = command_before;
    bus_descriptor->cmd_mask = commands_before;
    badblocks_exit(&bad);
    put_device(bus_device);
}

module_init(firmware_init);
module_exit(firmware_exit);
MODULE_DESCRIPTION("Bad blocks for an emulated NVDIMM bus");
MODULE_LICENSE("GPL");
