// An NBD session against clients that know the protocol, and clients that break it.
import { BLOCK_STATUS } from '@splitring/device';
import type { Disk } from '@splitring/frontend';
import { type NbdPeer, NbdSession } from '@splitring/frontend';
import test from 'ava';
import { type Field, message } from '../../../packages/frontend/src/nbd/nbd-protocol.ts';
import { BlockLab, isSame, pattern } from '../../support/block-lab.ts';

const OPT = 0x49484156454f5054n;

class Client {
  readonly session: NbdSession;
  isClosed = false;
  private sent: Uint8Array[] = [];

  constructor(disk: Disk) {
    const peer: NbdPeer = {
      send: (bytes) => this.sent.push(bytes.slice()),
      close: () => {
        this.isClosed = true;
      },
    };
    this.session = new NbdSession({ name: 'disk0', disk }, peer);
  }

  /** Send bytes in awkward pieces. */
  say(...fields: readonly Field[]): this {
    const bytes = message(...fields);
    for (let at = 0; at < bytes.length; at += 7) this.session.receive(bytes.slice(at, at + 7));
    return this;
  }

  option(option: number, data: Uint8Array = new Uint8Array(0)): this {
    return this.say([OPT, 8], [option, 4], [data.length, 4], data);
  }

  request(
    type: number,
    offset: number | bigint,
    length: number,
    flags = 0,
    payload: Uint8Array = new Uint8Array(0),
  ): this {
    return this.say([0x25609513, 4], [flags, 2], [type, 2], [77n, 8], [offset, 8], [length, 4], payload);
  }

  /** Everything received since the last call. */
  hear(): Uint8Array {
    const all = message(...this.sent);
    this.sent = [];
    return all;
  }

  /** Come as far as transmission, without structured replies. */
  ready(): this {
    this.say([3, 4]).option(7, message([0, 4], [0, 2]));
    this.hear();
    return this;
  }
}

function setUp(keys: Record<string, string> = {}) {
  const lab = new BlockLab();
  const { disk } = lab.guest({ keys });
  return { lab, disk, client: new Client(disk) };
}

/** Let everything that is under way come to its end. */
async function settle(lab: BlockLab): Promise<void> {
  for (let i = 0; i < 200; i += 1) {
    lab.step();
    await Promise.resolve();
  }
}

/** Error of the simple reply that came for the last request; −1 if none came. */
async function errorOf(lab: BlockLab, client: Client): Promise<number> {
  await settle(lab);
  const bytes = client.hear();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return bytes.byteLength > 0 && view.getUint32(0) === 0x67446698 ? view.getUint32(4) : -1;
}

test('the greeting is fixed newstyle without zeroes', (t) => {
  const { client } = setUp();
  t.is(Buffer.from(client.hear()).toString('latin1'), 'NBDMAGICIHAVEOPT\0\x03');
});

test('data written comes back, byte for byte, through simple replies', async (t) => {
  const { lab, client } = setUp();
  client.ready();
  const bytes = pattern(8192, 3);
  client.request(1, 4096, bytes.length, 1, bytes);
  t.is(await errorOf(lab, client), 0);
  client.request(0, 4096, bytes.length);
  await settle(lab);
  const reply = client.hear();
  t.true(isSame(reply.subarray(16), bytes));
  t.is(lab.ram.flushes, 0); // the disk forces single writes by itself
});

for (const [name, type, offset, length, flags, expected] of [
  ['a read past the end', 0, 8192 * 512 - 512, 1024, 0, 22],
  ['a write past the end', 1, 8192 * 512 - 512, 1024, 0, 28],
  ['a zeroing past the end', 6, 8192 * 512, 512, 0, 28],
  ['a trim past the end', 4, 8192 * 512, 512, 0, 22],
  ['an offset of 2^64 - 512', 0, 2n ** 64n - 512n, 512, 0, 22],
  ['an unknown flag', 0, 0, 512, 1 << 15, 22],
  ['a flag of another command', 1, 0, 512, 4, 22],
  ['an unknown command', 99, 0, 512, 0, 22],
  ['a block status without its context', 7, 0, 512, 0, 22],
  ['an unaligned read', 0, 100, 512, 0, 22],
  ['an empty read', 0, 0, 0, 0, 22],
  ['a flush of a range', 3, 0, 512, 0, 22],
  ['a good read', 0, 0, 512, 0, 0],
  ['a good trim', 4, 0, 4096, 1, 0],
  ['a good flush', 3, 0, 0, 0, 0],
] as const) {
  test(`${name} is answered ${expected}, and the connection lives on`, async (t) => {
    const { lab, client } = setUp();
    client.ready();
    client.request(type, offset, length, flags, type === 1 ? new Uint8Array(length) : undefined);
    t.is(await errorOf(lab, client), expected);
    client.request(0, 0, 512);
    t.is(await errorOf(lab, client), 0);
    t.false(client.isClosed);
  });
}

for (const [status, expected] of [
  [BLOCK_STATUS.error, 5],
  [BLOCK_STATUS.outOfRange, 5],
  [BLOCK_STATUS.outOfSpace, 28],
  [BLOCK_STATUS.readOnly, 1],
] as const) {
  test(`a medium that ends a write with status ${status} is told as errno ${expected}`, async (t) => {
    const { lab, client } = setUp();
    client.ready();
    lab.ram.fault = () => status;
    client.request(1, 0, 512, 0, new Uint8Array(512));
    t.is(await errorOf(lab, client), expected);
  });
}

test('a read-only disk refuses changes with EPERM', async (t) => {
  const { lab, client } = setUp({ mode: 'r' });
  client.ready();
  client.request(1, 0, 512, 0, new Uint8Array(512));
  t.is(await errorOf(lab, client), 1);
});

for (const [name, bytes] of [
  ['unknown handshake flags', message([0x80000003, 4])],
  ['no fixed newstyle', message([2, 4])],
  ['a wrong option magic', message([3, 4], [1n, 8], [7, 4], [0, 4])],
  ['an option of a gigabyte', message([3, 4], [OPT, 8], [7, 4], [1 << 30, 4])],
  ['an unknown export by the old option', message([3, 4], [OPT, 8], [1, 4], [3, 4], 'xyz')],
  ['300 options', message([3, 4], ...Array.from({ length: 300 }, () => message([OPT, 8], [99, 4], [0, 4])))],
] as const) {
  test(`a client with ${name} loses its connection`, (t) => {
    const { client } = setUp();
    client.session.receive(bytes);
    t.true(client.isClosed);
  });
}

test('a wrong request magic, and a write of a gigabyte, lose the connection', (t) => {
  const { disk } = setUp();
  t.true(new Client(disk).ready().say([1, 4], new Uint8Array(24)).isClosed);
  t.true(new Client(disk).ready().request(1, 0, 1 << 30).isClosed);
});

test('options that make no sense are refused, and the negotiation goes on', (t) => {
  const { client } = setUp();
  client.say([3, 4]);
  client.hear();
  const refusals = [
    [7, message([9, 4], 'short'), 0x80000003],
    [7, message([3, 4], 'xyz', [0, 2]), 0x80000006],
    [8, message([1, 4]), 0x80000003],
    [10, message([0, 4], [0, 4]), 0x80000003],
    [5, new Uint8Array(0), 0x80000001],
    [1234, new Uint8Array(3), 0x80000001],
  ] as const;
  for (const [option, data, error] of refusals) {
    client.option(option, data);
    const reply = client.hear();
    t.is(new DataView(reply.buffer).getUint32(12), error, `option ${option}`);
  }
  t.false(client.isClosed);
});
