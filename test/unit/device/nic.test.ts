// Two cards on a cable, each behind an IOMMU in a domain of its own, driven by the native driver.
import {
  type Cable,
  createCable,
  hasGoodChecksums,
  NIC_REG,
  Nic82576,
  NicDriver,
  type NicDriverOptions,
  type NicReceiveInfo,
} from '@splitring/device';
import { Hypervisor, type PciBus, routingId } from '@splitring/hypervisor';
import test from 'ava';
import { toeplitz } from '../../../packages/device/src/nic/nic-filter.ts';
import { etherFrame, pattern } from '../../support/net-lab.ts';
import { packet } from '../../support/packets.ts';

/** A seeded source of chance. */
function seeded(seed: number) {
  let state = seed;
  return {
    nextU32: () => {
      state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
      return (state ^ (state >>> 13)) >>> 0;
    },
  };
}

interface Host {
  readonly driver: NicDriver;
  readonly bus: PciBus;
  readonly mac: Uint8Array;
  readonly got: Uint8Array[];
  readonly infos: NicReceiveInfo[];
  readonly read: (register: number) => number;
}

function lab(options: NicDriverOptions = {}, seed = 1) {
  const time = { ms: 0 };
  const clock = { nowMs: () => time.ms };
  const hypervisor = new Hypervisor();
  const cable: Cable = createCable(clock, seeded(seed));
  const hosts = cable.ends.map((wire, index): Host => {
    const domain = hypervisor.createDomain({ name: `host${index}` });
    const hypercalls = hypervisor.attachInThread(domain);
    const rid = routingId(0, 5 + index, 0);
    hypervisor.pci.add(rid, domain.domid);
    hypervisor.pci.assign(rid, domain.domid, domain.generation);
    const bus = hypercalls.startPciBus(clock);
    const mac = Uint8Array.of(2, 0, 0, 0, 0, index + 1);
    bus.plug(rid, (master) => new Nic82576(master, { mac, wire, clock }));
    const pci = hypercalls.pci.open(rid);
    const driver = new NicDriver({ hypercalls, onEvent: () => {}, offEvent: () => {} }, pci, options);
    const got: Uint8Array[] = [];
    const infos: NicReceiveInfo[] = [];
    driver.onFrame = (frame, info) => {
      got.push(frame.slice());
      infos.push({ ...info });
    };
    const bar = pci.bar(0);
    return { driver, bus, mac, got, infos, read: (register) => bar.read32(register) };
  });
  const settle = () => {
    for (let i = 0; i < 10_000; i += 1) {
      let hasWorked = false;
      for (const { driver, bus } of hosts) {
        if (driver.poll()) hasWorked = true;
        if (bus.poll()) hasWorked = true;
        driver.arm();
      }
      if (!hasWorked) return;
    }
    throw new Error('the lab does not come to rest');
  };
  const [a, b] = hosts as [Host, Host];
  return { a, b, cable, settle, time };
}

const same = (got: readonly Uint8Array[], want: readonly Uint8Array[]) =>
  got.length === want.length && got.every((frame, i) => Buffer.compare(frame, want[i] as Uint8Array) === 0);

test('NicDriver brings the card up, reads its address, and frames go both ways', (t) => {
  const { a, b, settle } = lab();
  settle();
  t.true(a.driver.isLinkUp && b.driver.isLinkUp);
  t.deepEqual([...a.driver.macAddress], [...a.mac]);
  const sent = [46, 100, 1500].map((size, i) => etherFrame(b.mac, a.mac, pattern(size, i)));
  for (const frame of sent) t.true(a.driver.send(frame));
  settle();
  t.true(same(b.got, sent));
  const back = etherFrame(a.mac, b.mac, pattern(64, 1));
  b.driver.send(back);
  settle();
  t.true(same(a.got, [back]));
  t.is(a.read(NIC_REG.GPTC), 3);
  t.is(a.read(NIC_REG.GPTC), 0, 'statistics clear when read');
  t.is(b.read(NIC_REG.GPRC), 3);
});

test('Nic82576 carries thousands of frames in order and never more than its rings hold', (t) => {
  const { a, b, settle } = lab();
  settle();
  const frames = Array.from({ length: 2000 }, (_, i) => etherFrame(b.mac, a.mac, pattern(60 + (i % 900), i)));
  let sent = 0;
  while (sent < frames.length) {
    while (sent < frames.length && a.driver.send(frames[sent] as Uint8Array)) sent += 1;
    settle();
  }
  t.true(same(b.got, frames));
});

test('Nic82576 takes its own address, groups when asked, everything when promiscuous', (t) => {
  for (const isPromiscuous of [false, true]) {
    const { a, b, settle } = lab({ isPromiscuous });
    settle();
    a.driver.send(etherFrame(Uint8Array.of(2, 0, 0, 0, 0, 77), a.mac, pattern(50, 1)));
    a.driver.send(etherFrame(Uint8Array.of(1, 0, 0x5e, 0, 0, 1), a.mac, pattern(50, 1)));
    a.driver.send(etherFrame(Uint8Array.of(255, 255, 255, 255, 255, 255), a.mac, pattern(50, 1)));
    settle();
    t.is(b.got.length, isPromiscuous ? 3 : 1);
  }
});

test('Nic82576 finishes checksums, cuts TCP frames, inserts and strips VLAN tags', (t) => {
  const { a, b, settle } = lab();
  settle();
  const udp = packet({ to: b.mac, from: a.mac, protocol: 'udp', payload: pattern(500, 1), checksum: 'blank' });
  const full = packet({ to: b.mac, from: a.mac, protocol: 'udp', payload: pattern(500, 1), checksum: 'full' });
  a.driver.send(udp, { isChecksumBlank: true });
  const payload = pattern(20_000, 2);
  const tcp = packet({ to: b.mac, from: a.mac, protocol: 'tcp', payload, checksum: 'blank' });
  a.driver.send(tcp, { segmentBytes: 1448 });
  a.driver.send(full, { vlan: 7 });
  settle();
  t.true(same(b.got.slice(0, 1), [full]));
  t.true(b.got.every((frame) => hasGoodChecksums(frame, frame.length)));
  t.true(b.infos.every((info) => info.isChecked));
  const segments = b.got.slice(1, -1);
  t.is(segments.length, 14);
  t.is(Buffer.compare(Buffer.concat(segments.map((one) => one.subarray(54))), payload), 0);
  t.true(same(b.got.slice(-1), [full]), 'the tag is taken out …');
  t.is(b.infos.at(-1)?.vlan, 7, '… and told beside');
});

test('Nic82576 counts frames for which there is no buffer, and recovers', (t) => {
  const { a, b, settle } = lab();
  settle();
  const deaf = b.driver.poll;
  b.driver.poll = () => false;
  let sent = 0;
  for (let i = 0; i < 600; i += 1) {
    if (a.driver.send(etherFrame(b.mac, a.mac, pattern(60, i)))) sent += 1;
    if (i % 100 === 99) settle();
  }
  b.driver.poll = deaf;
  settle();
  t.is(b.got.length + b.driver.takeMissed(), sent);
  t.is(b.got.length, 255);
  b.got.length = 0;
  a.driver.send(etherFrame(b.mac, a.mac, pattern(60, 1)));
  settle();
  t.is(b.got.length, 1);
});

test('a cut cable takes the link down at both ends, and mending brings it back', (t) => {
  const { a, b, cable, settle } = lab();
  settle();
  const seen: boolean[] = [];
  a.driver.onLink = (isUp) => seen.push(isUp);
  cable.setCut(true);
  settle();
  t.false(a.driver.isLinkUp || b.driver.isLinkUp);
  t.false(a.driver.send(etherFrame(b.mac, a.mac, pattern(60, 1))));
  cable.setCut(false);
  settle();
  t.deepEqual(seen, [false, true]);
  a.driver.send(etherFrame(b.mac, a.mac, pattern(60, 1)));
  settle();
  t.is(b.got.length, 1);
});

test('what arrives over a bad cable is what was sent, but for frames that the checksum finds, and all counters add up', (t) => {
  for (let seed = 1; seed <= 5; seed += 1) {
    const { a, b, cable, settle, time } = lab({}, seed);
    settle();
    cable.setFaults({ loss: 0.1, duplication: 0.1, reordering: 0.2, corruption: 0.1, delayMs: 2 });
    const sent = new Set<string>();
    for (let i = 0; i < 500; i += 1) {
      const frame = packet({ to: b.mac, from: a.mac, protocol: 'udp', payload: pattern(100, i), checksum: 'full' });
      sent.add(Buffer.from(frame).toString('latin1'));
      t.true(a.driver.send(frame));
      settle();
      time.ms += 1;
    }
    time.ms += 10;
    settle();
    const { counters } = cable.ends[0];
    t.is(counters.sent, 500);
    t.is(counters.sent + counters.duplicated, counters.delivered + counters.lost + counters.cut);
    t.true(counters.lost > 0 && counters.duplicated > 0 && counters.reordered > 0 && counters.corrupted > 0);
    let good = 0;
    for (const [i, frame] of b.got.entries()) {
      if (sent.has(Buffer.from(frame).toString('latin1'))) good += 1;
      else t.true(!b.infos[i]?.isChecked || frame.subarray(0, 14).some((byte, at) => byte !== frameHead(a, b)[at]));
    }
    t.true(good > 300);
  }
});

function frameHead(a: Host, b: Host): Uint8Array {
  return Uint8Array.of(...b.mac, ...a.mac, 8, 0);
}

test('NicDriver close stops the card: no DMA, no frame, everything given back', (t) => {
  const { a, b, settle } = lab();
  settle();
  b.driver.close();
  b.driver.close();
  a.driver.send(etherFrame(b.mac, a.mac, pattern(60, 1)));
  settle();
  t.is(b.got.length, 0);
  t.false(b.driver.send(new Uint8Array(60)));
});

// Microsoft's check values for receive-side scaling: destination, source, ports, hash of the addresses, hash with ports.
const hashes: readonly [string, number[], number, number][] = [
  ['IPv4', [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6], 0x323e8fc2, 0x51ccc178],
  ['IPv4', [199, 92, 111, 2, 65, 69, 140, 83, 0x37, 0x96, 0x12, 0x83], 0xd718262a, 0xc626b0ea],
];
for (const [name, input, addresses, withPorts] of hashes) {
  test(`toeplitz agrees with the published value ${addresses.toString(16)} (${name})`, (t) => {
    const key = Uint8Array.from(
      Buffer.from('6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa', 'hex'),
    );
    const words = new Uint32Array(key.buffer);
    t.is(toeplitz(words, Uint8Array.from(input.slice(0, 8))), addresses);
    t.is(toeplitz(words, Uint8Array.from(input)), withPorts);
  });
}

test('NicDriver spreads flows over its queue pairs, and keeps each in order', (t) => {
  const { a, b, settle } = lab({ queuePairs: 4 });
  settle();
  const flows = 40;
  const rings = new Set<number>();
  for (let round = 0; round < 20; round += 1) {
    for (let flow = 0; flow < flows; flow += 1) {
      const payload = Uint8Array.of(flow, round);
      const frame = packet({ to: b.mac, from: a.mac, protocol: 'udp', payload, checksum: 'full' });
      frame[34] = 0x20; // a source port of its own; the checksum is wrong then, and nobody minds
      frame[35] = flow;
      t.true(a.driver.send(frame));
    }
    settle();
  }
  for (let queue = 0; queue < 4; queue += 1) if (b.read(NIC_REG.RXQ + 64 * queue + 0x10) !== 0) rings.add(queue);
  t.deepEqual([...rings], [0, 1, 2, 3], 'every queue was used');
  const seen = new Map<number, number>();
  for (const frame of b.got) {
    const [flow = -1, round = -1] = frame.subarray(42);
    t.is(round, (seen.get(flow) ?? -1) + 1, `flow ${flow}`);
    seen.set(flow, round);
  }
  t.is(b.got.length, 20 * flows);
});
