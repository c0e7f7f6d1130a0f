// ring oneway SIZE SLOTS BATCH | ring roundtrip spin|block | ring pipelined DEPTH spin|block
#include "ring.h"

int main(int argc, char** argv) {
  const auto number = [&](int at) { return at < argc ? static_cast<uint32_t>(strtoul(argv[at], nullptr, 10)) : 0u; };
  const auto is = [&](int at, const char* word) { return at < argc && strcmp(argv[at], word) == 0; };
  if (is(1, "oneway")) return oneway(number(2), number(3), number(4));
  if (is(1, "roundtrip")) return roundTrip(is(2, "block"));
  if (is(1, "pipelined")) return pipelined(number(2), is(3, "block"));
  fprintf(stderr, "usage: ring oneway SIZE SLOTS BATCH | roundtrip spin|block | pipelined DEPTH spin|block\n");
  return 2;
}
