// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest: the only process of the Linux that is migrated.
 *
 * It fills memory and devices with a pattern that depends on the round.  In each round it checks
 * the pattern and prints one line on the console:
 *
 *     guest: ready: 4096 KiB of memory, BAR 0 of 0000:00:02.0
 *     guest: round 17: memory good, 0000:00:02.0 good
 *     guest: round 18: memory good, 0000:00:02.0 damaged: byte 0x1c is 0x0, not 0x5e00...
 *
 * A device with MSI-X gets a page: each vector writes a word of it, so that an interrupt shows without
 * a driver.  A line lists the vectors that have come, when there are more and in every fourth round:
 *
 *     guest: interrupts of 0000:00:02.0: 0 2
 *
 * It does not know that it was migrated.  The console of the destination shows in which round it
 * continues.
 *
 * Devices: the emulated function of the harness (BAR 0 is memory and has the pattern) and mtty of
 * the kernel's samples/vfio-mdev (BAR 0 is the ports of a 16550; its scratch register has the
 * pattern, and Linux's serial driver does not change it while the port is closed).
 *
 * Kernel parameter: memory_kib, the size of the memory to dirty.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PCI "/sys/bus/pci/devices"
#define EMULATED 0x12347fd0 /* vendor and device id: harness/vfio/config_space.py */
#define MTTY 0x43483253     /* samples/vfio-mdev/mtty.c */
#define SCRATCH 7           /* UART_SCR, linux/serial_reg.h */
#define MOST_DEVICES 16
#define PAUSE_NS 20000000
#define COMMAND 4               /* PCI_COMMAND, linux/pci_regs.h */
#define BUS_MASTER 4            /* PCI_COMMAND_MASTER */
#define CAPABILITIES 0x34       /* PCI_CAPABILITY_LIST */
#define CAP_MSIX 0x11           /* PCI_CAP_ID_MSIX */
#define MSIX_ENABLE 0x8000      /* PCI_MSIX_FLAGS_ENABLE */
#define MSIX_SIZE 0x7ff         /* PCI_MSIX_FLAGS_QSIZE */
#define MOST_VECTORS 16
#define MESSAGE 0x4d530000u     /* what a vector writes, with its number */
#define FRAME ((1ull << 55) - 1) /* of an entry of /proc/self/pagemap */

struct device {
    char name[NAME_MAX + 1];
    int fd;                 /* resource0 of mtty */
    volatile uint64_t *bar; /* BAR 0 of the emulated function, mapped; NULL: mtty */
    size_t words;
    uint64_t base; /* number of its first word in the pattern: each device has its own */
    volatile uint32_t *messages; /* a word for each vector; NULL: no MSI-X */
    unsigned vectors;
    uint32_t came; /* bits of those that have been printed */
};

static struct device devices[MOST_DEVICES];
static int device_count;

/* Print the reason and stop. */
static void give_up(const char *what)
{
    printf("guest: gave up: %s: %s\n", what, strerror(errno));
    for (;;)
        pause();
}

/* Different in every word and every round. */
static uint64_t pattern(uint64_t round, uint64_t word)
{
    return (round << 32 | word) * 0x9e3779b97f4a7c15;
}

static void fill(volatile uint64_t *words, size_t count, uint64_t base, uint64_t round)
{
    for (size_t i = 0; i < count; i++)
        words[i] = pattern(round, base + i);
}

/*
 * Print whether all words have the pattern of the round, and write those of the next round.  Each
 * word is checked immediately before it is written, so that no damage is missed.
 */
static void renew(volatile uint64_t *words, size_t count, uint64_t base, uint64_t round)
{
    uint64_t wrong = 0;
    size_t first = count;

    for (size_t i = 0; i < count; i++) {
        uint64_t found = words[i];
        if (found != pattern(round, base + i) && first == count) {
            first = i;
            wrong = found;
        }
        words[i] = pattern(round + 1, base + i);
    }
    if (first == count)
        printf(" good");
    else
        printf(" damaged: byte %#zx: %#llx, not %#llx", first * sizeof(*words),
               (unsigned long long)wrong, (unsigned long long)pattern(round, base + first));
}

static void fill_port(const struct device *device, uint64_t round)
{
    uint8_t value = pattern(round, device->base) >> 56;
    if (pwrite(device->fd, &value, 1, SCRATCH) != 1)
        give_up(device->name);
}

static void renew_port(const struct device *device, uint64_t round)
{
    uint8_t found, value = pattern(round, device->base) >> 56;
    if (pread(device->fd, &found, 1, SCRATCH) != 1)
        give_up(device->name);
    if (found == value)
        printf(" good");
    else
        printf(" damaged: scratch register: %#x, not %#x", found, value);
    fill_port(device, round + 1);
}

static int open_file(const char *name, const char *file, int flags)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), PCI "/%s/%s", name, file);
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        give_up(path);
    return fd;
}

static unsigned long read_id(const char *name, const char *file)
{
    char text[16] = "";
    int fd = open_file(name, file, O_RDONLY);
    if (read(fd, text, sizeof(text) - 1) < 0)
        give_up(file);
    close(fd);
    return strtoul(text, NULL, 16);
}

/* Physical address of a page that stays where it is. */
static uint64_t physical(const volatile void *page)
{
    uint64_t entry, at = (uintptr_t)page / sysconf(_SC_PAGESIZE) * sizeof(entry);
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, &entry, sizeof(entry), at) != sizeof(entry) || !(entry & FRAME))
        give_up("/proc/self/pagemap");
    close(fd);
    return (entry & FRAME) * sysconf(_SC_PAGESIZE);
}

static uint16_t read_config(int config, off_t at)
{
    uint16_t value;
    if (pread(config, &value, sizeof(value), at) != sizeof(value))
        give_up("config");
    return value;
}

static void write_config(int config, off_t at, uint16_t value)
{
    if (pwrite(config, &value, sizeof(value), at) != sizeof(value))
        give_up("config");
}

/* Offset of the MSI-X capability; 0: there is none. */
static uint8_t find_msix(int config)
{
    uint8_t at = read_config(config, CAPABILITIES);
    for (int i = 0; at && i < 48; i++) {
        uint16_t header = read_config(config, at);
        if ((header & 0xff) == CAP_MSIX)
            return at;
        at = header >> 8;
    }
    return 0;
}

/* Let each vector write its word, and enable MSI-X.  The table is at the start of BAR 1. */
static void take_interrupts(struct device *device)
{
    int config = open_file(device->name, "config", O_RDWR);
    uint8_t at = find_msix(config);
    if (!at) {
        close(config);
        return;
    }
    long size = sysconf(_SC_PAGESIZE);
    int bar = open_file(device->name, "resource1", O_RDWR);
    volatile uint32_t *table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (table == MAP_FAILED || page == MAP_FAILED || mlock(page, size))
        give_up("BAR 1");
    memset(page, 0, size);
    device->messages = page;
    device->vectors = (read_config(config, at + 2) & MSIX_SIZE) + 1;
    if (device->vectors > MOST_VECTORS)
        device->vectors = MOST_VECTORS;
    for (unsigned i = 0; i < device->vectors; i++) {
        uint64_t address = physical(page) + i * sizeof(*table);
        table[4 * i] = address;
        table[4 * i + 1] = address >> 32;
        table[4 * i + 2] = MESSAGE | i;
        table[4 * i + 3] = 0;
    }
    write_config(config, COMMAND, read_config(config, COMMAND) | BUS_MASTER);
    write_config(config, at + 2, MSIX_ENABLE);
    close(bar);
    close(config);
}

/* Print the vectors that have come, if there are more or is_due. */
static void show_interrupts(struct device *device, int is_due)
{
    uint32_t came = 0;

    for (unsigned i = 0; i < device->vectors; i++)
        if (device->messages[i] == (MESSAGE | i))
            came |= 1u << i;
    if (came == device->came && !is_due)
        return;
    device->came = came;
    printf("guest: interrupts of %s:", device->name);
    for (unsigned i = 0; i < device->vectors; i++)
        if (came >> i & 1)
            printf(" %u", i);
    printf("\n");
}

/* Take the device if it is one of ours: let it decode, and reach its BAR 0. */
static void take(const char *name)
{
    unsigned long id = read_id(name, "vendor") << 16 | read_id(name, "device");
    struct device *device = &devices[device_count];
    struct stat about;

    if ((id != EMULATED && id != MTTY) || device_count == MOST_DEVICES)
        return;
    device->base = (device_count + 1ull) << 24;
    snprintf(device->name, sizeof(device->name), "%s", name);
    int enable = open_file(name, "enable", O_WRONLY);
    if (write(enable, "1", 1) != 1 && errno != EBUSY) /* busy: its driver has enabled it */
        give_up("enable");
    close(enable);
    device->fd = open_file(name, "resource0", O_RDWR);
    if (id == EMULATED) {
        if (fstat(device->fd, &about))
            give_up("size of BAR 0");
        device->words = about.st_size / sizeof(*device->bar);
        device->bar = mmap(NULL, about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd, 0);
        if (device->bar == MAP_FAILED)
            give_up("BAR 0");
        take_interrupts(device);
    }
    device_count++;
}

static void take_all(void)
{
    struct dirent **entries;
    int count = scandir(PCI, &entries, NULL, alphasort);
    if (count < 0)
        give_up(PCI);
    for (int i = 0; i < count; i++)
        if (entries[i]->d_name[0] != '.')
            take(entries[i]->d_name);
}

int main(void)
{
    /* The kernel hands what it does not know itself to us in the environment. */
    const char *given = getenv("memory_kib");
    size_t kib = given ? strtoul(given, NULL, 10) : 4096;
    const struct timespec pause = {.tv_nsec = PAUSE_NS};

    setvbuf(stdout, NULL, _IOLBF, 4096);
    if (mkdir("/proc", 0755) || mount("proc", "/proc", "proc", 0, NULL))
        give_up("/proc");
    if (mkdir("/sys", 0755) || mount("sysfs", "/sys", "sysfs", 0, NULL))
        give_up("/sys");
    uint64_t *memory = mmap(NULL, kib << 10, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        give_up("memory");
    take_all();

    printf("guest: ready: %zu KiB of memory", kib);
    for (int i = 0; i < device_count; i++)
        printf(", BAR 0 of %s", devices[i].name);
    printf("\n");

    fill(memory, (kib << 10) / sizeof(*memory), 0, 0);
    for (int i = 0; i < device_count; i++)
        if (devices[i].bar)
            fill(devices[i].bar, devices[i].words, devices[i].base, 0);
        else
            fill_port(&devices[i], 0);

    for (uint64_t round = 0;; round++) {
        nanosleep(&pause, NULL);
        for (int i = 0; i < device_count; i++)
            if (devices[i].messages)
                show_interrupts(&devices[i], round % 4 == 0);
        printf("guest: round %llu: memory", (unsigned long long)round);
        renew(memory, (kib << 10) / sizeof(*memory), 0, round);
        for (int i = 0; i < device_count; i++) {
            printf(", %s", devices[i].name);
            if (devices[i].bar)
                renew(devices[i].bar, devices[i].words, devices[i].base, round);
            else
                renew_port(&devices[i], round);
        }
        printf("\n");
    }
}
