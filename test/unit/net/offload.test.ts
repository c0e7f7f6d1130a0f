// Checksums and segmentation in software, for receivers and carriers that cannot do them.
import { fillChecksum, hasGoodChecksums, internetChecksum, read32, segmentTcp } from '@splitring/device';
import test from 'ava';
import { NetLab, pattern } from '../../support/net-lab.ts';
import { packet } from '../../support/packets.ts';

const to = Uint8Array.of(0, 0x16, 0x3e, 0, 0, 3);
const from = Uint8Array.of(0, 0x16, 0x3e, 0, 0, 2);

test('internetChecksum agrees with the example of RFC 1071 and with odd lengths', (t) => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  t.is(internetChecksum(bytes, 0, 8), ~0xddf2 & 0xffff);
  t.is(internetChecksum(Uint8Array.of(1, 2, 3), 0, 3), ~0x0402 & 0xffff);
});

for (const version of [4, 6] as const) {
  for (const protocol of ['tcp', 'udp'] as const) {
    test(`fillChecksum finishes ${protocol} over IPv${version}, also behind a VLAN tag`, (t) => {
      for (const vlan of [undefined, 7]) {
        const spec = { to, from, version, protocol, payload: pattern(333, 1), ...(vlan === undefined ? {} : { vlan }) };
        const blank = packet({ ...spec, checksum: 'blank' });
        const full = packet({ ...spec, checksum: 'full' });
        t.false(hasGoodChecksums(blank, blank.length));
        t.true(fillChecksum(blank, blank.length));
        t.true(hasGoodChecksums(blank, blank.length));
        t.deepEqual(blank, full);
        full[full.length - 1] = (full[full.length - 1] as number) ^ 1;
        t.false(hasGoodChecksums(full, full.length), 'a flipped bit shows');
      }
    });
  }

  test(`segmentTcp cuts a large IPv${version} frame into segments that put together are the frame`, (t) => {
    const payload = pattern(10_000, 5);
    const frame = packet({
      to,
      from,
      version,
      protocol: 'tcp',
      payload,
      checksum: 'blank',
      flags: 0x99,
      sequence: 0xffff_f000,
    });
    const segments: Uint8Array[] = [];
    const count = segmentTcp(frame, frame.length, 1448, (segment) => segments.push(segment.slice()) > 0);
    t.is(count, 7);
    const header = version === 4 ? 54 : 74;
    const whole = new Uint8Array(10_000);
    for (const [i, segment] of segments.entries()) {
      t.true(hasGoodChecksums(segment, segment.length), `segment ${i}`);
      const at = (read32(segment, header - 16) - 0xffff_f000) >>> 0;
      whole.set(segment.subarray(header), at);
      t.is((segment[header - 7] as number) & 0x09, i === 6 ? 0x09 : 0, 'FIN and PSH on the last only');
      t.is((segment[header - 7] as number) & 0x80, i === 0 ? 0x80 : 0, 'CWR on the first only');
    }
    t.deepEqual(whole, payload);
  });
}

test('segmentTcp and fillChecksum refuse what is no TCP or is cut short', (t) => {
  const udp = packet({ to, from, protocol: 'udp', payload: pattern(100, 1), checksum: 'blank' });
  t.is(
    segmentTcp(udp, udp.length, 50, () => true),
    0,
  );
  const tcp = packet({ to, from, protocol: 'tcp', payload: new Uint8Array(), checksum: 'blank' });
  for (let length = 0; length < tcp.length; length += 1) t.false(fillChecksum(tcp.slice(0, length), length));
  const lying = packet({ to, from, protocol: 'tcp', payload: pattern(100, 1), checksum: 'blank' });
  lying[46] = 0xf0; // a TCP header of 60 bytes
  t.notThrows(() => segmentTcp(lying, lying.length, 10, () => true));
  const noise = pattern(200, 9);
  for (let i = 0; i < 2000; i += 1) {
    noise.set(pattern(60, i), 12);
    noise.set([8, 0, 0x45, 0, 0, (i % 200) + 1], 12);
    t.notThrows(() => fillChecksum(noise, noise.length) && segmentTcp(noise, noise.length, 7, () => true));
  }
});

for (const [name, abilities, version, options] of [
  ['IPv4 segments to a guest without GSO', { canGsoV4: false }, 4, { gsoSizeBytes: 1448, gsoType: 1 }],
  [
    'IPv6 segments to a guest without GSO',
    { canGsoV6: false, canBlankV6: false },
    6,
    { gsoSizeBytes: 1428, gsoType: 2 },
  ],
  ['finished IPv4 checksums to a guest that wants none blank', { canBlankV4: false }, 4, { isChecksumBlank: true }],
  ['finished IPv6 checksums to a guest that knows no blank ones', { canBlankV6: false }, 6, { isChecksumBlank: true }],
] as const) {
  test(`Vif delivers ${name}`, (t) => {
    const lab = new NetLab();
    const [a, b] = [lab.guest(), lab.guest({ abilities })];
    const got: Uint8Array[] = [];
    b.nic.onFrame = (frame) => {
      t.false(frame.isChecksumBlank);
      t.is(frame.gsoSizeBytes, 0);
      got.push(frame.toBytes());
    };
    const size = 'gsoSizeBytes' in options ? 20_000 : 900;
    const payload = pattern(size, 3);
    const frame = packet({ to: b.mac, from: a.mac, version, protocol: 'tcp', payload, checksum: 'blank' });
    t.true(a.nic.send(frame, options));
    lab.machine.settle();
    t.true(got.every((one) => hasGoodChecksums(one, one.length)));
    const header = version === 4 ? 54 : 74;
    t.deepEqual(Uint8Array.from(got.flatMap((one) => [...one.subarray(header)])), payload);
    t.is(a.nic.counters.txOkay, 1);
  });
}

test('Vif drops a frame whose offload flags do not fit its bytes, counted by name', (t) => {
  const lab = new NetLab();
  const [a, b] = [lab.guest(), lab.guest({ abilities: { canGsoV4: false, canBlankV4: false } })];
  const udp = packet({ to: b.mac, from: a.mac, protocol: 'udp', payload: pattern(3000, 1), checksum: 'blank' });
  a.nic.send(udp, { gsoSizeBytes: 1000, gsoType: 1 });
  a.nic.send(udp.slice(0, 40), { isChecksumBlank: true });
  a.nic.send(packet({ to: b.mac, from: a.mac, protocol: 'tcp', payload: pattern(30_000, 1), checksum: 'blank' }), {
    gsoSizeBytes: 1,
    gsoType: 1,
  });
  lab.machine.settle();
  t.is(b.vif.counters.rxUnsuitable, 3);
  t.is(a.nic.counters.txOkay + a.nic.counters.txDropped, 3);
});
