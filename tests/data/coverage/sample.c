#include <assert.h>

static int failed;

static int step(int value)
{
    assert(value < 100);
    if (value < 0 ||
        value > 50) {
        return -1;
    }
    if (value == 7) {
        failed = 1;
    }
    return value;
}

static int never(int value)
{
    return step(value) + 1;
}

int main(int argc, char **argv)
{
    return argc > 5 ? never(argc) : step(0);
}
