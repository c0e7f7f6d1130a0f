// The stream uplink over a real socket: peers attach as QEMU does, and one that breaks the framing is dropped alone.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { frameForStream, StreamDecoder } from '@splitring/backend';
import { connectStream, listenForStreams } from '@splitring/backend/qemu-stream';
import test from 'ava';
import { BROADCAST, etherFrame, NetLab, pattern } from '../../support/net-lab.ts';

const PEER = Uint8Array.of(2, 0, 0, 0, 0, 9);

/** Move the lab until `isDone`, with the event loop in between; bounded. */
async function until(lab: NetLab, isDone: () => boolean): Promise<void> {
  for (let turn = 0; turn < 500; turn += 1) {
    lab.machine.settle();
    if (isDone()) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error('nothing came');
}

function frames(socket: Socket): Uint8Array[] {
  const got: Uint8Array[] = [];
  const decoder = new StreamDecoder();
  socket.on('data', (chunk: Uint8Array) => decoder.push(chunk, (frame) => got.push(Uint8Array.from(frame))));
  return got;
}

test('peers of a stream socket and guests are on one network', async (t) => {
  const lab = new NetLab();
  const guest = lab.guest();
  const path = join(tmpdir(), `splitring-${process.pid}-stream.sock`);
  const listener = await listenForStreams(lab.bridge, lab.driver, { path });
  const socket = connect(path);
  await once(socket, 'connect');
  const atPeer = frames(socket);
  const atGuest: Uint8Array[] = [];
  guest.nic.onFrame = (frame) => atGuest.push(frame.toBytes());

  const hello = etherFrame(BROADCAST, PEER, pattern(46, 1));
  socket.write(frameForStream(hello));
  await until(lab, () => atGuest.length > 0);
  t.deepEqual(atGuest, [hello]);
  const answers = Array.from({ length: 50 }, (_, i) => etherFrame(PEER, guest.mac, pattern(1500, i)));
  for (const frame of answers) guest.nic.send(frame);
  await until(lab, () => atPeer.length === 50);
  t.is(Buffer.compare(Buffer.concat(atPeer), Buffer.concat(answers)), 0);

  const rude = connect(path);
  rude.on('error', () => undefined);
  await once(rude, 'connect');
  const closed = once(rude, 'close');
  rude.write(Uint8Array.of(0xff, 0xff, 0xff, 0xff));
  await closed;
  t.is(listener.uplinks.size, 1, 'the other peer stays');
  socket.destroy();
  await until(lab, () => lab.bridge.links.length === 1);
  await listener.close();
});

test('connectStream attaches to a peer that listens, and calls back one that has hung up', async (t) => {
  const server = new NetLab();
  const client = new NetLab();
  const path = join(tmpdir(), `splitring-${process.pid}-passt.sock`);
  const listener = await listenForStreams(server.bridge, server.driver, { path });
  const carriers: boolean[] = [];
  const onCarrier = (isOn: boolean) => void carriers.push(isOn);
  const stream = await connectStream(client.bridge, client.driver, { path }, { onCarrier });
  const guest = server.guest();
  const other = client.guest();
  const got: Uint8Array[] = [];
  other.nic.onFrame = (frame) => got.push(frame.toBytes());
  const exchange = async (seed: number) => {
    const frame = etherFrame(BROADCAST, guest.mac, pattern(100, seed));
    guest.nic.send(frame);
    await until(server, () => true);
    await until(client, () => got.length > 0);
    t.deepEqual(got.splice(0), [frame]);
  };
  await until(server, () => listener.uplinks.size === 1);
  await exchange(1);

  await listener.close();
  await until(client, () => carriers.length === 1);
  t.deepEqual([carriers, stream.uplink.hasCarrier], [[false], false]);
  t.is(client.bridge.links.length, 2, 'the port stays');
  other.nic.send(etherFrame(BROADCAST, other.mac, pattern(100, 2)));
  client.machine.settle();
  t.like(stream.uplink.counters, { txOffered: 1, txNoCarrier: 1, txFrames: 0 });
  client.machine.nowMs += 200;
  client.machine.settle();
  t.is(stream.redials, 1);
  await new Promise((resolve) => setTimeout(resolve, 20)); // nobody listens: the attempt fails
  t.false(stream.uplink.hasCarrier);

  const again = await listenForStreams(server.bridge, server.driver, { path });
  client.machine.nowMs += 400;
  await until(client, () => carriers.length === 2);
  t.deepEqual([carriers, stream.redials], [[false, true], 2]);
  await until(server, () => again.uplinks.size === 1);
  await exchange(3);
  t.is(stream.uplink.counters.txFrames, 0);

  stream.close();
  stream.close();
  await until(server, () => again.uplinks.size === 0);
  client.machine.nowMs += 60_000;
  client.machine.settle();
  t.deepEqual([client.bridge.links.length, stream.redials, carriers.length], [1, 2, 2], 'closed for good');
  await again.close();
  await t.throwsAsync(connectStream(client.bridge, client.driver, { path }), { code: 'ENOENT' });
});
