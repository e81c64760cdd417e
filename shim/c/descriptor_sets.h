/* One poll, ppoll, select or pselect, as the trampoline and the Rust side share it. Mirrored in
 * src/readiness/descriptor_sets/record.rs. */
#ifndef AXIO_DESCRIPTOR_SETS_H
#define AXIO_DESCRIPTOR_SETS_H
#include "readiness.h"

/* What the Rust side knows of one entry. */
struct axio_member {
    uint32_t endpoint;   /* index + 1; 0 = an ordinary descriptor */
    uint32_t generation;
    uint32_t state;
    uint32_t spare;
};

struct axio_poll {
    long result;
    int error;
    unsigned count;
    struct pollfd *entries; /* the program's, or made of its descriptor sets */
    struct pollfd *copy;    /* what is slept on */
    struct axio_member *members;
    struct timespec timeout;
    int has_timeout;
    int sleep_has_timeout;
    struct timespec sleep;
    unsigned long rust[8];
};
_Static_assert(sizeof(struct axio_poll) == 16 + 24 + 16 + 8 + 16 + 64, "as in src/readiness/descriptor_sets/record.rs");
_Static_assert(__builtin_offsetof(struct axio_poll, rust) == 80, "as in src/readiness/descriptor_sets/record.rs");
_Static_assert(sizeof(struct axio_member) == 16, "as in src/readiness/descriptor_sets/record.rs");

#endif
