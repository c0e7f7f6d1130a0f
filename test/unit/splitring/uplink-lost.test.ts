// A socket uplink that its peer closes leaves the reason in the store of the driver domain until the peer is back; one that
// we close leaves none.
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import test from 'ava';
import { openNetworks } from '../../../packages/splitring/src/domain/open-networks.ts';
import { NetLab } from '../../support/net-lab.ts';

const ERROR = 'error/uplink/3/error';

/** A lab whose driver domain has a store that remembers what is written. */
function labWithStore() {
  const lab = new NetLab();
  const written = new Map<string, string>();
  const write = (path: string, value: string) => void written.set(path, value);
  const remove = (path: string) => void written.delete(path);
  Object.assign(lab.driver, { store: { write, remove } });
  return { lab, written };
}

/** Turn the event loop until `isDone`; bounded. */
async function turn(lab: NetLab, isDone: () => boolean): Promise<void> {
  for (let turns = 0; turns < 100 && !isDone(); turns += 1) {
    lab.machine.settle();
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function openUplink(lab: NetLab, name: string) {
  const path = join(tmpdir(), `splitring-${process.pid}-${name}.sock`);
  const server: Server = createServer();
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  await once(server.listen(path), 'listening');
  const uplinks = [{ bridge: 'lan0', index: 3, lane: {}, connect: path }];
  const counters = { buffer: new SharedArrayBuffer(8), names: [] };
  const role = { kind: 'driver', disks: [], bridges: ['lan0'], counters, cables: [], uplinks, captures: {} } as const;
  const networks = await openNetworks(role, lab.driver, new Map([['lan0', lab.bridge]]));
  const [peer] = await accepted;
  return { path, server, networks, peer };
}

test('openNetworks writes error/uplink/<index>/error while the peer of a connected uplink is gone', async (t) => {
  const { lab, written } = labWithStore();
  const { path, server, networks, peer } = await openUplink(lab, 'lost');
  t.is(written.size, 0);
  peer.destroy();
  await turn(lab, () => written.size > 0);
  t.is(written.get(ERROR), `Uplink 3 is down: ${path} closed the connection`);
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  lab.machine.nowMs += 1000;
  await turn(lab, () => written.size === 0);
  t.is(written.size, 0, 'the peer is called back, and the reason is gone');
  for (const one of await accepted) one.destroy();
  await networks.close();
  server.close();
});

test('openNetworks reports no error for an uplink that the driver domain itself closes', async (t) => {
  const { lab, written } = labWithStore();
  const { server, networks, peer } = await openUplink(lab, 'closed');
  const closed = once(peer.resume(), 'close');
  await networks.close();
  await closed;
  await turn(lab, () => written.size > 0);
  t.is(written.size, 0);
  server.close();
});
