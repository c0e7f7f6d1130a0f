// veth BYTES: the kernel's way between two network namespaces. Frames go over a veth pair through packet sockets, 32 to a
// system call, at most 256 on their way. The front sends, the back receives. Needs root and iproute2.
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <csignal>
#include <utility>
#include <vector>

#include "../trial.h"

namespace {

constexpr uint32_t kWindow = 256;
constexpr uint32_t kBatch = 32;
constexpr uint16_t kEtherType = 0x88b5;  // for local experiments

[[noreturn]] void fail(const char* what) {
  perror(what);
  fprintf(stderr, "Error: cannot %s\n", what);
  exit(1);
}

void run(const std::string& command) {
  if (system(command.c_str()) != 0) fail(command.c_str());
}

/// A socket that sees our frames on `device` of the namespace that this thread is in.
int openSocket(const char* device) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(kEtherType));
  if (fd < 0) fail("open a packet socket");
  sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(kEtherType);
  address.sll_ifindex = static_cast<int>(if_nametoindex(device));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("bind a packet socket");
  const int room = 512 << 20, yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes);
  const timeval patience = {5, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return fd;
}

/// Build both namespaces and the pair between them. @returns the sending and the receiving socket
std::pair<int, int> connectNamespaces() {
  int ready[2];
  if (pipe(ready) != 0) fail("make a pipe");
  const pid_t holder = fork();  // a process whose namespace outlives what is done to ours
  if (holder == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNET) != 0) _exit(1);
    if (write(ready[1], "", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte;
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1 || unshare(CLONE_NEWNET) != 0) fail("make network namespaces");
  run("ip link add name veth0 mtu 65520 type veth peer name veth1 mtu 65520 && ip link set veth1 up");
  run("ip link set veth0 netns " + std::to_string(holder));
  const int receiving = openSocket("veth1");
  const int there = open(("/proc/" + std::to_string(holder) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC);
  if (there < 0 || setns(there, CLONE_NEWNET) != 0) fail("enter the other namespace");
  run("ip link set veth0 up");
  return {openSocket("veth0"), receiving};
}

/// kBatch messages over buffers of their own.
struct Batch {
  std::vector<std::vector<uint8_t>> buffers;
  std::vector<iovec> parts;
  std::vector<mmsghdr> headers;

  explicit Batch(size_t bytes) : buffers(kBatch, std::vector<uint8_t>(bytes, 7)), parts(kBatch), headers(kBatch) {
    for (uint32_t i = 0; i < kBatch; i++) {
      parts[i] = {buffers[i].data(), bytes};
      headers[i] = {};
      headers[i].msg_hdr.msg_iov = &parts[i];
      headers[i].msg_hdr.msg_iovlen = 1;
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  const size_t bytes = argc > 1 ? strtoul(argv[1], nullptr, 10) : 0;
  if (bytes < 60 || bytes > 65534) {
    fprintf(stderr, "usage: veth BYTES\n");
    return 2;
  }
  const auto [sending, receiving] = connectNamespaces();
  Batch out(bytes), in(bytes);
  ethhdr header = {};
  memset(header.h_dest, 0xff, ETH_ALEN);
  header.h_source[0] = 2;
  header.h_proto = htons(kEtherType);
  for (auto& buffer : out.buffers) memcpy(buffer.data(), &header, sizeof header);
  static Word received, isWaiting;

  Subject subject;
  subject.front = [&, sending = sending](uint32_t operations) {
    const double from = nowNs();
    for (uint32_t sent = 0; sent < operations;) {
      uint32_t there = received.value.load();
      if (sent - there > kWindow - kBatch) {
        isWaiting.value.store(1);
        if (received.value.load() == there) futexWait(received.value, there);
        isWaiting.value.store(0);
        continue;
      }
      const int count = sendmmsg(sending, out.headers.data(), std::min(kBatch, operations - sent), 0);
      if (count <= 0) fail("send");
      sent += static_cast<uint32_t>(count);
    }
    for (uint32_t there; (there = received.value.load()) != operations;) {
      isWaiting.value.store(1);
      if (received.value.load() == there) futexWait(received.value, there);
    }
    isWaiting.value.store(0);
    Measure measure;
    measure.value = (nowNs() - from) / operations;
    received.value.store(0);
    return measure;
  };
  subject.back = [&, receiving = receiving](uint32_t operations) {
    for (uint32_t count = 0; count < operations;) {
      const int got = recvmmsg(receiving, in.headers.data(), kBatch, MSG_WAITFORONE, nullptr);
      if (got <= 0) fail("receive: frames were lost");
      count += static_cast<uint32_t>(got);
      received.value.store(count);
      if (isWaiting.value.load() != 0) futexWake(received.value);
    }
  };
  return serve(subject);
}
