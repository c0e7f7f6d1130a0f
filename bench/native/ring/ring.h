// The native subjects of the ring suite; each serves trials until stdin ends and returns the exit code.
#pragma once

#include "../trial.h"

/// One-way messages of `size` bytes through `slots` slots, published every `batch` messages.
int oneway(uint32_t size, uint32_t slots, uint32_t batch);

/// Round trip of one word between two threads that spin, or that sleep in a futex.
int roundTrip(bool blocking);

/// Xen-like requests and responses of 112-byte slots with `depth` in flight, spinning or sleeping in a futex.
int pipelined(uint32_t depth, bool blocking);
