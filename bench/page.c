#include "page.h"
bool page_write(const char *directory, json_t *const *reports, unsigned count)
{
    (void)directory;
    (void)reports;
    (void)count;
    return true;
}
