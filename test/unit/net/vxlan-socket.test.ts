// VXLAN over real UDP sockets on the loopback: two driver domains are one network, over IPv4 and IPv6; strangers, foreign
// networks and hosts that cannot be reached are counted.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { encapsulate } from '@splitring/backend';
import { openVxlan } from '@splitring/backend/vxlan';
import test, { type ExecutionContext } from 'ava';
import { BROADCAST, etherFrame, NetLab, pattern } from '../../support/net-lab.ts';

/** Move labs until `isDone`, with the event loop in between; bounded. */
async function until(labs: readonly NetLab[], isDone: () => boolean): Promise<void> {
  for (let turn = 0; turn < 500; turn += 1) {
    for (const lab of labs) lab.machine.settle();
    if (isDone()) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error('nothing came');
}

/** A UDP port that nobody uses at `address`. */
async function freePort(address: string): Promise<number> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.bind(0, address);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

async function isBindable(t: ExecutionContext, address: string): Promise<boolean> {
  try {
    await freePort(address);
    return true;
  } catch {
    t.log(`SKIPPED: ${address} cannot be bound here`);
    t.pass();
    return false;
  }
}

test('openVxlan joins two bridges over IPv4; each remote is one port however often it is named', async (t) => {
  const [near, far] = ['127.0.0.2', '127.0.0.3'] as const;
  if (!(await isBindable(t, near))) return;
  const port = await freePort(near);
  const [here, there] = [new NetLab(), new NetLab()];
  const [tunnel, other] = [
    await openVxlan(here.bridge, here.driver, { vni: 7, remotes: [far, far], localAddress: near, port }),
    await openVxlan(there.bridge, there.driver, { vni: 7, remotes: [near], localAddress: far, port }),
  ];
  t.deepEqual([...tunnel.uplinks.keys()], [far]);
  t.is(here.bridge.links.length, 1);
  const [guest, peer] = [here.guest(), there.guest()];
  const got: Uint8Array[] = [];
  peer.nic.onFrame = (frame) => got.push(frame.toBytes());
  const frame = etherFrame(BROADCAST, guest.mac, pattern(1400, 1));
  guest.nic.send(frame);
  await until([here, there], () => got.length === 1);
  t.deepEqual(got, [frame]);

  const stranger = createSocket('udp4');
  stranger.bind(0, '127.0.0.4');
  await once(stranger, 'listening');
  stranger.send(encapsulate(7, frame), port, near);
  await until([here], () => tunnel.strangers === 1);
  stranger.close();
  t.is(tunnel.uplinks.get(far)?.counters.rxFrames, 0);
  await Promise.all([tunnel.close(), other.close()]);
  t.is(here.bridge.links.length, 1, 'the guest');
});

test('openVxlan reaches IPv6 hosts, however their addresses are written', async (t) => {
  if (!(await isBindable(t, '::1'))) return;
  const port = await freePort('::1');
  const lab = new NetLab();
  const tunnel = await openVxlan(lab.bridge, lab.driver, { vni: 9, remotes: ['0:0:0:0:0:0:0:1'], port });
  t.deepEqual([...tunnel.uplinks.keys()], ['::1']);
  const guest = lab.guest();
  guest.nic.send(etherFrame(BROADCAST, guest.mac, pattern(100, 1)));
  const { counters } = tunnel.uplinks.get('::1') ?? t.fail();
  await until([lab], () => counters.rxFrames === 1); // the tunnel leads to ourselves
  t.like(counters, { txFrames: 1, txFailed: 0, rxErrors: 0 });
  await tunnel.close();
});

test('openVxlan counts what the system cannot send, and datagrams of other networks', async (t) => {
  const lab = new NetLab();
  const near = '127.0.0.6';
  if (!(await isBindable(t, near))) return;
  const port = await freePort(near);
  // From the loopback nothing leaves for the outside.
  const remotes = ['192.0.2.1', near];
  const tunnel = await openVxlan(lab.bridge, lab.driver, { vni: 3, remotes, localAddress: near, port });
  const guest = lab.guest();
  const frame = etherFrame(BROADCAST, guest.mac, pattern(100, 1));
  guest.nic.send(frame);
  const [lost, own] = remotes.map((remote) => tunnel.uplinks.get(remote)?.counters);
  await until([lab], () => (lost?.txFailed ?? 0) + (own?.rxFrames ?? 0) === 2);
  t.like(lost, { txFrames: 1, txFailed: 1 });
  const socket = createSocket('udp4');
  socket.bind(0, near);
  await once(socket, 'listening');
  socket.send(encapsulate(4, frame), port, near);
  socket.send(Uint8Array.of(1, 2, 3), port, near);
  await until([lab], () => own?.rxErrors === 2);
  socket.close();
  await tunnel.close();
  t.pass();
});

test('openVxlan refuses remotes that its socket cannot reach, before anything is opened', async (t) => {
  const lab = new NetLab();
  for (const options of [
    { vni: 1, remotes: ['127.0.0.1', '::1'] },
    { vni: 1, remotes: ['::1'], localAddress: '127.0.0.1' },
    { vni: 1 << 24, remotes: ['127.0.0.1'] },
  ]) {
    await t.throwsAsync(openVxlan(lab.bridge, lab.driver, options), { instanceOf: RangeError });
  }
  t.is(lab.bridge.links.length, 0);
});
