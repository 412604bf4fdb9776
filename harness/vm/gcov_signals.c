/*
 * For the gcov variant of build.sh: a QEMU that a signal ends writes its counters too.
 *
 * libgcov writes them at exit().  A QEMU that hangs does not get there: it is sent SIGTERM, which
 * its blocked main loop does not answer, and then SIGKILL.  So the counters are written when
 * SIGTERM arrives, before QEMU's own handler runs, and when QEMU aborts or crashes.  SIGKILL alone,
 * and a main thread that is blocked in a system call which no signal interrupts, lose them.
 *
 * The link replaces sigaction() by __wrap_sigaction() (ld: --wrap).
 */

#include <gcov.h>
#include <signal.h>
#include <stddef.h>

int __real_sigaction(int number, const struct sigaction *action, struct sigaction *old);
int __wrap_sigaction(int number, const struct sigaction *action, struct sigaction *old);

static struct sigaction of_qemu; /* for SIGTERM */

/* Zeroed as well: libgcov adds to the file, and exit() may follow. */
static void write_counters(void)
{
    __gcov_dump();
    __gcov_reset();
}

static void on_term(int number, siginfo_t *info, void *context)
{
    write_counters();
    if (of_qemu.sa_flags & SA_SIGINFO) {
        of_qemu.sa_sigaction(number, info, context);
    } else {
        of_qemu.sa_handler(number);
    }
}

static void on_crash(int number)
{
    write_counters();
    raise(number); /* ends it on return: SA_RESETHAND */
}

int __wrap_sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    struct sigaction ours;

    if (number != SIGTERM || action == NULL || action->sa_handler == SIG_DFL ||
        action->sa_handler == SIG_IGN) {
        return __real_sigaction(number, action, old);
    }
    of_qemu = *action;
    ours = *action;
    ours.sa_flags |= SA_SIGINFO;
    ours.sa_sigaction = on_term;
    return __real_sigaction(number, &ours, old);
}

__attribute__((constructor)) static void catch_crashes(void)
{
    struct sigaction action = { .sa_handler = on_crash, .sa_flags = SA_RESETHAND };

    __real_sigaction(SIGABRT, &action, NULL);
    __real_sigaction(SIGSEGV, &action, NULL);
    __real_sigaction(SIGTRAP, &action, NULL);
}
