// The NVMe controller at its registers and raw queue entries: every command, right and wrong.
import { MemoryMedium } from '@splitring/device';
import { PCI, PCI_COMMAND } from '@splitring/hypervisor';
import test from 'ava';
import { createMachine } from './machine.ts';

const ADMIN = {
  deleteSq: 0,
  createSq: 1,
  log: 2,
  deleteCq: 4,
  createCq: 5,
  identify: 6,
  abort: 8,
  set: 9,
  get: 10,
  event: 12,
};
const NVM = { flush: 0, write: 1, read: 2, writeZeroes: 8, dsm: 9 };

interface Fields {
  readonly nsid?: number;
  readonly prp1?: number;
  readonly prp1High?: number;
  readonly prp2?: number;
  readonly cdw10?: number;
  readonly cdw11?: number;
  readonly cdw12?: number;
  readonly flags?: number;
}

/** A controller driven by hand: frame 0 admin SQ, 1 admin CQ, 2 I/O SQ, 3 I/O CQ, 4 … data. */
function rawMachine(options: Parameters<typeof createMachine>[0] = {}) {
  const machine = createMachine(options);
  const registers = machine.pci.bar(0);
  machine.pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
  const run = machine.hypercalls.allocateFrames(machine.hypercalls.domid, 16);
  const words = new Int32Array(run.bytes.buffer, run.bytes.byteOffset, run.bytes.length / 4);
  const page = (frame: number) => (run.first + frame) * 4096;
  const tails = [0, 0];
  const heads = [0, 0];
  const enable = () => {
    registers.write32(0x24, 15 | (15 << 16));
    registers.write32(0x28, page(0));
    registers.write32(0x30, page(1));
    registers.write32(0x14, 1 | (6 << 16) | (4 << 20));
  };
  const stage = (queue: 0 | 1, opcode: number, id: number, fields: Fields) => {
    const at = queue * 2048 + (tails[queue] ?? 0) * 16;
    words.fill(0, at, at + 16);
    words[at] = opcode | (fields.flags ?? 0) | (id << 16);
    words[at + 1] = fields.nsid ?? 0;
    words[at + 6] = fields.prp1 ?? 0;
    words[at + 7] = fields.prp1High ?? 0;
    words[at + 8] = fields.prp2 ?? 0;
    words[at + 10] = fields.cdw10 ?? 0;
    words[at + 11] = fields.cdw11 ?? 0;
    words[at + 12] = fields.cdw12 ?? 0;
    tails[queue] = ((tails[queue] ?? 0) + 1) % 16;
    registers.write32(0x1000 + queue * 8, tails[queue] ?? 0);
  };
  const reap = (queue: 0 | 1) => {
    const found: { id: number; status: number; result: number; phase: number }[] = [];
    for (;;) {
      const head = heads[queue] ?? 0;
      const at = 1024 + queue * 2048 + (head % 16) * 4;
      const last = words[at + 3] ?? 0;
      const phase = Math.floor(head / 16) % 2 === 0 ? 1 : 0;
      if (((last >>> 16) & 1) !== phase) break;
      found.push({ id: last & 0xffff, status: last >>> 17, result: words[at] ?? 0, phase });
      heads[queue] = head + 1;
    }
    if (found.length > 0) registers.write32(0x1004 + queue * 8, (heads[queue] ?? 0) % 16);
    return found;
  };
  const poll = (times = 20) => {
    for (let i = 0; i < times; i++) machine.bus.poll();
  };
  const run1 = (queue: 0 | 1, opcode: number, fields: Fields) => {
    stage(queue, opcode, 7, fields);
    poll();
    const [first] = reap(queue);
    return first === undefined ? undefined : { status: first.status, result: first.result };
  };
  const status = (queue: 0 | 1, opcode: number, fields: Fields) => run1(queue, opcode, fields)?.status;
  const createIo = () => {
    enable();
    const cq = status(0, ADMIN.createCq, { prp1: page(3), cdw10: 1 | (15 << 16), cdw11: 1 });
    const sq = status(0, ADMIN.createSq, { prp1: page(2), cdw10: 1 | (15 << 16), cdw11: 1 | (1 << 16) });
    return [cq, sq];
  };
  return { ...machine, registers, run, words, page, enable, stage, reap, poll, run1, status, createIo };
}

test('registers tell capabilities, version and state; enable and disable follow CC.EN', (t) => {
  const m = rawMachine();
  t.is(m.registers.read32(0x00) & 0xffff, 1023);
  t.is((m.registers.read32(0x00) >>> 16) & 1, 1, 'queues must be contiguous');
  t.is(m.registers.read32(0x08), 0x10400);
  t.is(m.registers.read32(0x1c), 0);
  m.enable();
  t.is(m.registers.read32(0x1c), 1);
  m.registers.write32(0x28, 0x5000);
  t.is(m.registers.read32(0x28), m.page(0), 'ASQ is frozen while enabled');
  m.registers.write32(0x14, 0);
  t.is(m.registers.read32(0x1c), 0);
});

test('an enable with an unsupported page size, misplaced or one-entry queues ends in a fatal status', (t) => {
  for (const [register, value] of [
    [0x14, 1 | (1 << 7)],
    [0x28, 0x123],
    [0x24, 0],
  ] as const) {
    const m = rawMachine();
    m.registers.write32(0x24, 15 | (15 << 16));
    m.registers.write32(0x28, m.page(0));
    m.registers.write32(0x30, m.page(1));
    m.registers.write32(register, value);
    if (register !== 0x14) m.registers.write32(0x14, 1);
    t.is(m.registers.read32(0x1c), 2, `register ${register.toString(16)}`);
    m.stage(0, ADMIN.identify, 1, {});
    t.false(m.controller.poll());
  }
});

test('a normal shutdown flushes the media and reports that it is complete', (t) => {
  const m = rawMachine();
  m.enable();
  m.registers.write32(0x14, m.registers.read32(0x14) | (1 << 14));
  t.is(m.registers.read32(0x1c) & 0xc, 8);
});

test('identify answers controller, namespace, list and descriptors, and refuses what is not there', (t) => {
  const media = [
    new MemoryMedium(new SharedArrayBuffer(1 << 20)),
    new MemoryMedium(new SharedArrayBuffer(2 << 20), { blockBytes: 4096 }),
  ];
  const m = rawMachine({ media, serial: 'TEST' });
  m.enable();
  const data = new DataView(m.run.bytes.buffer, m.run.bytes.byteOffset + 4 * 4096, 4096);
  const identify = (cns: number, nsid: number) => m.status(0, ADMIN.identify, { nsid, prp1: m.page(4), cdw10: cns });
  t.is(identify(1, 0), 0);
  t.is(data.getUint32(516, true), 2);
  t.is(data.getUint8(77), 8);
  t.is(String.fromCharCode(...new Uint8Array(data.buffer.slice(data.byteOffset + 4, data.byteOffset + 8))), 'TEST');
  t.is(identify(0, 2), 0);
  t.is(data.getUint32(0, true), 512);
  t.is(data.getUint8(130), 12);
  t.is(identify(0, 9), 0);
  t.is(data.getUint32(0, true), 0, 'an inactive namespace is all zero');
  t.is(identify(2, 1), 0);
  t.deepEqual([data.getUint32(0, true), data.getUint32(4, true)], [2, 0]);
  t.is(identify(3, 1), 0);
  t.is(identify(3, 9), 0x0b);
  t.is(identify(0, 0xffff_ffff), 0x0b);
  t.is(identify(0x77, 1), 0x02);
});

test('queue commands refuse wrong ids, sizes, vectors, pages and orders', (t) => {
  const m = rawMachine({ queuePairs: 2, queueEntries: 64 });
  m.enable();
  const cq = (cdw10: number, cdw11: number, prp1 = m.page(3)) => m.status(0, ADMIN.createCq, { prp1, cdw10, cdw11 });
  const sq = (cdw10: number, cdw11: number) => m.status(0, ADMIN.createSq, { prp1: m.page(2), cdw10, cdw11 });
  t.is(cq(0 | (15 << 16), 1), 0x101, 'id 0');
  t.is(cq(3 | (15 << 16), 1), 0x101, 'id beyond the limit');
  t.is(cq(1 | (0 << 16), 1), 0x102, 'one entry');
  t.is(cq(1 | (64 << 16), 1), 0x102, 'too many entries');
  t.is(cq(1 | (15 << 16), 0), 0x02, 'not contiguous');
  t.is(cq(1 | (15 << 16), 1, m.page(3) + 8), 0x13, 'not at a page');
  t.is(cq(1 | (15 << 16), 3 | (9 << 16)), 0x108, 'vector 9');
  t.is(sq(1 | (15 << 16), 1 | (1 << 16)), 0x100, 'no completion queue yet');
  t.is(cq(1 | (15 << 16), 1), 0);
  t.is(cq(1 | (15 << 16), 1), 0x101, 'exists');
  t.is(sq(1 | (15 << 16), 1), 0x100, 'the admin completion queue');
  t.is(sq(1 | (15 << 16), 1 | (1 << 16)), 0);
  t.is(m.status(0, ADMIN.deleteCq, { cdw10: 1 }), 0x10c, 'still used');
  t.is(m.status(0, ADMIN.deleteSq, { cdw10: 1 }), 0);
  t.is(m.status(0, ADMIN.deleteSq, { cdw10: 1 }), 0x101);
  t.is(m.status(0, ADMIN.deleteCq, { cdw10: 1 }), 0);
  t.is(m.status(0, ADMIN.deleteCq, { cdw10: 0 }), 0x101);
  t.is(m.status(0, 0x7f, {}), 0x01);
  t.is(m.status(0, ADMIN.identify, { flags: 1 << 8 }), 0x02, 'fused');
});

test('features are set and got; what cannot be saved or changed says so', (t) => {
  const m = rawMachine({ queuePairs: 4 });
  m.enable();
  t.deepEqual(m.run1(0, ADMIN.set, { cdw10: 7, cdw11: 0 }), { status: 0, result: 3 | (3 << 16) });
  t.is(m.status(0, ADMIN.set, { cdw10: 7, cdw11: 0xffff }), 0x02);
  t.deepEqual(m.run1(0, ADMIN.get, { cdw10: 6 }), { status: 0, result: 1 });
  t.is(m.status(0, ADMIN.set, { cdw10: 6, cdw11: 0 }), 0);
  t.deepEqual(m.run1(0, ADMIN.get, { cdw10: 6 }), { status: 0, result: 0 });
  t.is(m.status(0, ADMIN.set, { cdw10: 1, cdw11: 0x07 }), 0);
  t.deepEqual(m.run1(0, ADMIN.get, { cdw10: 1 }), { status: 0, result: 7 });
  t.is(m.status(0, ADMIN.set, { cdw10: (1 << 31) | 1 }), 0x10d);
  t.is(m.status(0, ADMIN.set, { cdw10: 9 }), 0x10e);
  t.is(m.status(0, ADMIN.get, { cdw10: 0x55 }), 0x02);
  t.is(m.status(0, ADMIN.log, { cdw10: 0x99 }), 0x109);
});

test('I/O commands refuse bad namespaces, ranges, pages and opcodes before anything moves', (t) => {
  const m = rawMachine();
  t.deepEqual(m.createIo(), [0, 0]);
  const io = (opcode: number, fields: Fields) => m.status(1, opcode, { nsid: 1, prp1: m.page(4), ...fields });
  t.is(io(NVM.read, { cdw12: 7 }), 0);
  t.is(io(NVM.read, { nsid: 0 }), 0x0b);
  t.is(io(NVM.read, { nsid: 2 }), 0x0b);
  t.is(io(NVM.read, { cdw10: 8192 }), 0x80);
  t.is(io(NVM.read, { cdw10: 8191, cdw12: 1 }), 0x80);
  t.is(io(NVM.read, { cdw10: 0, cdw11: 1 }), 0x80);
  t.is(io(NVM.read, { cdw10: -1, cdw11: -1 }), 0x80);
  t.is(io(NVM.read, { cdw12: 2048 }), 0x02, 'beyond MDTS');
  t.is(io(NVM.read, { prp1: m.page(4) + 2 }), 0x13);
  t.is(io(NVM.read, { cdw12: 15, prp2: m.page(5) + 4 }), 0x13);
  t.is(io(NVM.read, { cdw12: 31, prp2: m.page(5) + 4 }), 0x13, 'list not aligned to 8 bytes');
  t.is(io(NVM.read, { prp1: 0x7f00_0000 }), 0x04, 'page not mapped');
  t.is(io(NVM.read, { prp1High: 0x7fff_ffff }), 0x04, 'address beyond the width');
  t.is(io(NVM.read, { cdw12: 15, prp2: 0x7f00_0000 }), 0x04);
  t.is(io(NVM.read, { cdw12: 31, prp2: 0x7f00_0000 }), 0x04, 'list not mapped');
  t.is(io(0x55, {}), 0x01);
  t.is(io(NVM.read, { flags: 1 << 14 }), 0x02, 'SGL');
  t.is(io(NVM.flush, { nsid: 3 }), 0x0b);
  t.is(io(NVM.flush, {}), 0);
  t.is(io(NVM.flush, { nsid: -1 }), 0, 'all namespaces');
  t.is(io(NVM.writeZeroes, { cdw10: 8192 }), 0x80);
  t.is(io(NVM.dsm, { cdw11: 4 }), 0, 'one empty range');
});

test('a read-only medium refuses every change', (t) => {
  const m = rawMachine({ media: [new MemoryMedium(new SharedArrayBuffer(1 << 20), { isReadOnly: true })] });
  m.createIo();
  const io = (opcode: number, fields: Fields) => m.status(1, opcode, { nsid: 1, prp1: m.page(4), ...fields });
  t.is(io(NVM.read, {}), 0);
  t.is(io(NVM.write, {}), 0x20);
  t.is(io(NVM.writeZeroes, {}), 0x20);
  t.is(io(NVM.dsm, { cdw11: 4 }), 0x20);
});

test('a PRP list that starts at its last entry chains to the next list page', (t) => {
  const medium = new MemoryMedium(new SharedArrayBuffer(1 << 20));
  const m = rawMachine({ media: [medium] });
  m.createIo();
  const lists = [8 * 1024 + 1022, 9 * 1024];
  m.words[lists[0] ?? 0] = m.page(9);
  for (const [i, frame] of [10, 12, 11].entries()) m.words[(lists[1] ?? 0) + i * 2] = m.page(frame);
  for (const frame of [4, 10, 11, 12]) m.run.bytes.fill(frame, frame * 4096, (frame + 1) * 4096);
  t.is(m.status(1, NVM.write, { nsid: 1, prp1: m.page(4), prp2: m.page(8) + 4088, cdw12: 31 }), 0);
  const back = new Uint8Array(4 * 4096);
  medium.read(0, back, 0, back.length);
  t.deepEqual(
    [0, 1, 2, 3].map((i) => back[i * 4096 + 100]),
    [4, 10, 12, 11],
  );
});

test('phase bits flip at every wrap and a full completion queue holds the device back', (t) => {
  const m = rawMachine();
  m.createIo();
  const phases: number[] = [];
  for (let i = 0; i < 40; i++) {
    m.stage(1, NVM.flush, i, { nsid: 1 });
    m.poll();
    for (const { phase, id } of m.reap(1)) {
      phases.push(phase);
      t.is(id, i);
    }
  }
  t.deepEqual(phases, [...Array(16).fill(1), ...Array(16).fill(0), ...Array(8).fill(1)]);
  for (let i = 0; i < 15; i++) m.stage(1, NVM.read, i, { nsid: 1, prp1: m.page(4) });
  m.poll();
  m.stage(1, NVM.read, 15, { nsid: 1, prp1: m.page(4) });
  m.poll();
  t.is(m.controller.commands - 43, 14, 'sixteen entries hold fifteen: one slot of the submission queue too');
  t.is(m.reap(1).length, 15);
  m.poll();
  t.deepEqual(
    m.reap(1).map(({ id }) => id),
    [15],
  );
});

test('doorbells of unknown queues and values past the end are counted and ignored', (t) => {
  const m = rawMachine();
  m.createIo();
  m.registers.write32(0x1000 + 8, 16);
  m.registers.write32(0x1000 + 80, 1);
  m.registers.write32(0x1004 + 8, 99);
  m.poll();
  t.is(m.controller.invalidDoorbells, 3);
  t.is(m.status(1, NVM.flush, { nsid: 1 }), 0);
});

test('a submission queue that left the I/O page table makes the controller fatal, nothing else', (t) => {
  const m = rawMachine();
  m.createIo();
  m.hypercalls.freeFrames(m.run);
  m.registers.write32(0x1000 + 8, 1);
  t.notThrows(() => m.poll());
  t.is(m.registers.read32(0x1c) & 2, 2);
  t.true(m.bus.iommu.faults.total > 0);
});

test('a resized medium is announced once, by an asynchronous event with its log page', (t) => {
  const medium = new MemoryMedium(new SharedArrayBuffer(1 << 20));
  const m = rawMachine({ media: [medium] });
  m.enable();
  m.stage(0, ADMIN.event, 3, {});
  m.poll();
  t.deepEqual(m.reap(0), []);
  Object.defineProperty(medium, 'capacityBytes', { value: 1 << 19 });
  m.controller.resample(1);
  t.deepEqual(m.reap(0), [{ id: 3, status: 0, result: 2 | (4 << 16), phase: 1 }]);
  t.is(m.status(0, ADMIN.log, { cdw10: 4 | (7 << 16), prp1: m.page(4) }), 0);
  t.is(m.words[4 * 1024], 1);
  for (let i = 0; i < 4; i++) m.stage(0, ADMIN.event, 10 + i, {});
  m.poll();
  t.is(m.status(0, ADMIN.event, {}), 0x105, 'only four may wait');
});
