// XSA-155: how often each end reads the bytes that the other can change: slots, extra infos, headers. Counted, not believed.
import test from 'ava';
import { observe } from '../../checker/monitor.ts';
import { Counting } from '../../support/counting.ts';
import { BROADCAST, etherFrame, ipFrame, NetLab, pattern, type RawGuest, type RawSlot } from '../../support/net-lab.ts';

const RING_HEADER = 64;
const TX_SLOT = 12;
const MORE = 4;
const EXTRA = 8;
const BLANK = 1;
const GSO = [1, 0, 0xa8, 0x05, 1, 0, 0, 0, 0, 0, 0, 0];
const JOIN = [2, 0, 1, 0, 0x5e, 0, 0, 1, 0, 0, 0, 0];

/** Count reads while `act` runs, on memory that is made in `prepare`; `check` looks at the counts. */
function counted<T>(prepare: () => T, act: (world: T) => void, check: (world: T, monitor: Counting) => void): void {
  const monitor = new Counting();
  observe(
    monitor,
    () => true,
    () => {
      const world = prepare();
      monitor.isCounting = true;
      act(world);
      monitor.isCounting = false;
      check(world, monitor);
    },
  );
}

function place(evil: RawGuest, frame: Uint8Array, sizes: readonly number[]): void {
  let at = 0;
  for (const [page, size] of sizes.entries()) {
    evil.data.bytes.set(frame.subarray(at, at + size), page * 4096);
    at += size;
  }
}

const kinds: readonly (readonly [string, (evil: RawGuest, to: Uint8Array) => readonly RawSlot[]])[] = [
  [
    'a frame in one slot',
    (evil, to) => {
      place(evil, etherFrame(to, evil.mac, pattern(1000, 1)), [1014]);
      return [{ page: 0, size: 1014 }];
    },
  ],
  [
    'a frame whose header lies in two pages',
    (evil, to) => {
      place(evil, etherFrame(to, evil.mac, pattern(1000, 1)), [9, 1005]);
      return [
        { page: 0, size: 1014, flags: MORE },
        { page: 1, size: 1005 },
      ];
    },
  ],
  [
    'a large frame with extra info',
    (evil, to) => {
      place(evil, ipFrame(to, evil.mac, pattern(5000, 1)), [4096, 918]);
      return [
        { page: 0, size: 5014, flags: MORE | EXTRA | BLANK },
        { size: 0, raw: GSO },
        { page: 1, size: 918 },
      ];
    },
  ],
  [
    'a request to join a group',
    () => [
      { page: 0, size: 0, flags: EXTRA },
      { size: 0, raw: JOIN },
    ],
  ],
  ['a packet that is refused', () => [{ page: 0, size: 13 }]],
];
for (const [name, fill] of kinds) {
  test(`VifQueue reads every byte of ${name} once`, (t) => {
    let slots = 0;
    const prepare = () => {
      const lab = new NetLab();
      const [evil, good] = [lab.raw(9), lab.guest()];
      good.nic.onFrame = () => {};
      good.nic.send(etherFrame(BROADCAST, good.mac, new Uint8Array(46)));
      lab.machine.settle();
      const staged = fill(evil, good.mac);
      slots = staged.length;
      evil.send(...staged);
      return { lab, evil };
    };
    const act = ({ lab }: ReturnType<typeof prepare>) => {
      for (let i = 0; i < 5; i += 1) lab.driver.poll();
    };
    counted(prepare, act, ({ evil }, monitor) => {
      const ring = evil.txPages.bytes;
      for (let slot = 0; slot < slots; slot += 1) {
        const at = ring.byteOffset + RING_HEADER + slot * TX_SLOT;
        t.is(monitor.most(ring.buffer, at, TX_SLOT), 1, `slot ${slot}`);
      }
      t.is(evil.responses().length, slots);
    });
  });
}

test('VifRx reads every posted buffer once, and NetRxQueue every answer', (t) => {
  const prepare = () => {
    const lab = new NetLab();
    const [a, b] = [lab.guest(), lab.guest()];
    b.nic.send(etherFrame(BROADCAST, b.mac, new Uint8Array(46)));
    lab.machine.settle();
    let received = 0;
    b.nic.onFrame = () => {
      received += 1;
    };
    return { lab, a, b, received: () => received };
  };
  const act = ({ lab, a, b }: ReturnType<typeof prepare>) => {
    a.nic.send(etherFrame(b.mac, a.mac, new Uint8Array(9000)));
    a.nic.send(etherFrame(b.mac, a.mac, new Uint8Array(100)));
    lab.machine.settle();
  };
  counted(prepare, act, ({ b, received }, monitor) => {
    t.is(received(), 2);
    const ring = b.nic['queues'][0]?.rx.ringPages.bytes ?? t.fail();
    // A slot holds first a request, which the back end reads, and then its answer, which the front end reads.
    for (let slot = 0; slot < 4; slot += 1) {
      t.is(monitor.most(ring.buffer, ring.byteOffset + RING_HEADER + slot * 8, 8), 2);
    }
  });
});
