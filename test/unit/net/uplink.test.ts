// Uplinks: what leaves is what belongs on a wire, what comes in reaches the guest; VXLAN headers and stream framing.
import { decapsulate, encapsulate, frameForStream, PcapngCapture, StreamDecoder, Uplink } from '@splitring/backend';
import { hasGoodChecksums } from '@splitring/device';
import test from 'ava';
import fc from 'fast-check';
import { BROADCAST, etherFrame, NetLab, pattern } from '../../support/net-lab.ts';
import { packet } from '../../support/packets.ts';

const OUTSIDE = Uint8Array.of(2, 0, 0, 0, 0, 1);

function world(options = {}) {
  const lab = new NetLab();
  const guest = lab.guest();
  const out: Uint8Array[] = [];
  const uplink = new Uplink('up0', lab.bridge, lab.driver, (frame) => out.push(frame.slice()) > 0, options);
  return { lab, guest, out, uplink };
}

test('Uplink sends finished checksums and segments, and delivers what comes in', (t) => {
  const { lab, guest, out, uplink } = world();
  const got: Uint8Array[] = [];
  guest.nic.onFrame = (frame) => got.push(frame.toBytes());
  const inbound = etherFrame(guest.mac, OUTSIDE, pattern(100, 1));
  uplink.input(inbound);
  lab.machine.settle();
  t.deepEqual(got, [inbound]);
  const large = packet({ to: OUTSIDE, from: guest.mac, protocol: 'tcp', payload: pattern(9000, 1), checksum: 'blank' });
  guest.nic.send(large, { gsoSizeBytes: 1448, gsoType: 1 });
  lab.machine.settle();
  t.is(out.length, 7);
  t.true(out.every((frame) => frame.length <= 1502 && hasGoodChecksums(frame, frame.length)));
  t.is(uplink.counters.txFrames, 7);
  uplink.input(new Uint8Array(13));
  t.is(uplink.counters.rxErrors, 1);
  uplink.close();
  uplink.close();
  guest.nic.send(large, { gsoSizeBytes: 1448, gsoType: 1 });
  lab.machine.settle();
  t.is(out.length, 7);
  t.is(lab.bridge.links.length, 1);
});

test('Uplink frames for a busy guest wait in its backlog, bounded in time', (t) => {
  const { lab, guest, uplink } = world();
  for (let i = 0; i < 300; i += 1) uplink.input(etherFrame(guest.mac, OUTSIDE, pattern(100, i)));
  lab.machine.settle();
  let count = 0;
  guest.nic.onFrame = () => {
    count += 1;
  };
  lab.machine.settle();
  t.is(count, 300);
  guest.nic.onFrame = undefined;
  for (let i = 0; i < 300; i += 1) uplink.input(etherFrame(guest.mac, OUTSIDE, pattern(100, i)));
  lab.machine.nowMs += 10_001;
  lab.machine.settle();
  t.is(guest.vif.counters.rxStalled, 44);
  t.is(guest.vif.counters.rxFrames, 300 + 256);
});

test('Bridge never carries frames between ports of one split horizon', (t) => {
  const { lab, guest, out, uplink } = world({ splitHorizon: 'vxlan 42' });
  const other: Uint8Array[] = [];
  const second = new Uplink('up1', lab.bridge, lab.driver, (frame) => other.push(frame.slice()) > 0, {
    splitHorizon: 'vxlan 42',
  });
  uplink.input(etherFrame(BROADCAST, OUTSIDE, pattern(50, 1)));
  t.is(other.length, 0);
  second.input(etherFrame(OUTSIDE, Uint8Array.of(2, 0, 0, 0, 0, 2), pattern(50, 1)));
  t.is(out.length, 0);
  t.is(second.link.counters.dropSamePort, 1);
  guest.nic.send(etherFrame(BROADCAST, guest.mac, pattern(50, 1)));
  lab.machine.settle();
  t.is(out.length + other.length, 2);
});

test('Uplink as a trunk tags what is in a VLAN, and lets nobody without one write a tag of his own', (t) => {
  const { lab, guest, out, uplink } = world({ isTrunk: true });
  const inside = lab.guest({ link: { vlan: 7 } });
  const tagged = etherFrame(OUTSIDE, guest.mac, pattern(60, 1));
  tagged.set([0x81, 0x00, 0x00, 7], 12);
  guest.nic.send(tagged);
  guest.nic.send(etherFrame(OUTSIDE, guest.mac, pattern(60, 2)));
  inside.nic.send(etherFrame(OUTSIDE, inside.mac, pattern(60, 3)));
  lab.machine.settle();
  t.deepEqual(
    out.map((frame) => [...frame.subarray(6, 16)].slice(5)),
    [
      [guest.mac[5], 0x88, 0xb5, ...pattern(60, 2).subarray(0, 2)],
      [inside.mac[5], 0x81, 0x00, 0x00, 7],
    ],
  );
  t.like(uplink.counters, { txOffered: 3, txFrames: 2, txUnsuitable: 1 });
});

test('VXLAN headers are those of RFC 7348, and strangers are refused', (t) => {
  const frame = pattern(60, 1);
  const datagram = encapsulate(0x123456, frame);
  t.deepEqual([...datagram.subarray(0, 8)], [8, 0, 0, 0, 0x12, 0x34, 0x56, 0]);
  t.deepEqual(decapsulate(0x123456, datagram), datagram.subarray(8));
  t.is(decapsulate(0x123457, datagram), undefined);
  t.is(decapsulate(0x123456, datagram.subarray(0, 8)), undefined);
  datagram[0] = 0;
  t.is(decapsulate(0x123456, datagram), undefined);
  t.throws(() => encapsulate(1 << 24, frame), { instanceOf: RangeError });
});

test('StreamDecoder finds every frame however the stream is cut', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 200 }),
      (frames, cuts) => {
        const stream = Buffer.concat(frames.map((frame) => frameForStream(frame)));
        const decoder = new StreamDecoder();
        const got: Buffer[] = [];
        for (let at = 0, i = 0; at < stream.length; i += 1) {
          const end = at + (cuts[i % cuts.length] ?? 1);
          const chunk = Uint8Array.from(stream.subarray(at, end)); // its memory is gone afterwards
          decoder.push(chunk, (frame) => got.push(Buffer.from(frame)));
          chunk.fill(0xee);
          at = end;
        }
        t.deepEqual(Buffer.concat(got), Buffer.concat(frames));
        return got.length === frames.length;
      },
    ),
  );
  const decoder = new StreamDecoder();
  decoder.push(Uint8Array.of(0xff, 0, 0, 0, 1), () => t.fail());
  t.true(decoder.isBroken);
});

test('PcapngCapture writes blocks that are whole, aligned and in order', (t) => {
  const lab = new NetLab();
  const [a, b] = [lab.guest(), lab.guest()];
  const blocks: Uint8Array[] = [];
  const capture = new PcapngCapture({ write: (bytes) => blocks.push(bytes), clock: lab.machine.clock, snapBytes: 100 });
  const ends = lab.bridge.links.map((link) => capture.attach(link));
  b.nic.onFrame = () => {};
  a.nic.send(etherFrame(BROADCAST, a.mac, pattern(46, 1)));
  a.nic.send(etherFrame(b.mac, a.mac, pattern(301, 1)));
  lab.machine.settle();
  for (const end of ends) end();
  a.nic.send(etherFrame(b.mac, a.mac, pattern(46, 1)));
  lab.machine.settle();
  t.is(capture.frames, 4);
  const types = blocks.map((block) => {
    const view = new DataView(block.buffer);
    t.is(block.length % 4, 0);
    t.is(view.getUint32(4, true), block.length);
    t.is(view.getUint32(block.length - 4, true), block.length);
    return view.getUint32(0, true);
  });
  t.deepEqual(types, [0x0a0d0d0a, 1, 1, 6, 6, 6, 6]);
  const last = new DataView(blocks[6]?.buffer ?? new ArrayBuffer(0));
  t.deepEqual([last.getUint32(20, true), last.getUint32(24, true)], [100, 315]);
});
