// The host tells of an uplink whose peer hangs up, and of its return; frames flow again without anybody's help.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { frameForStream, StreamDecoder } from '@splitring/backend';
import test from 'ava';
import { createHost, type UplinkState } from 'splitring';

const echo = new URL('./echo.guest.ts', import.meta.url);

/** A peer that sends one broadcast again and again until `count` answers have come. */
async function talk(server: Server, count: number): Promise<Socket> {
  const [socket] = (await once(server, 'connection')) as [Socket];
  const frame = new Uint8Array(60).fill(255, 0, 6);
  frame.set([2, 0, 0, 0, 0, 1, 0x88, 0xb5], 6);
  let answers = 0;
  const decoder = new StreamDecoder();
  socket.on('data', (chunk: Uint8Array) => {
    decoder.push(chunk, () => {
      answers += 1;
    });
  });
  for (let i = 0; i < 200 && answers < count; i += 1) {
    socket.write(frameForStream(frame));
    await sleep(20);
  }
  if (answers < count) throw new Error(`${answers} answers`);
  return socket;
}

async function listen(path: string): Promise<Server> {
  const server = createServer();
  await once(server.listen(path), 'listening');
  return server;
}

test.serial('an uplink whose peer hangs up is told, called back, and told to be there again', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'splitring-uplinks-'));
  const path = join(directory, 'peer.sock');
  const server = await listen(path);
  const first = talk(server, 3);
  const host = await createHost({
    driverDomains: [
      {
        name: 'net',
        bridges: ['lan0', 'lan1'],
        uplinks: [
          { bridge: 'lan1', listen: join(directory, 'lan1.sock') },
          { bridge: 'lan0', connect: path },
        ],
      },
    ],
  });
  const told: UplinkState[] = [];
  host.onUplink = (uplink) => told.push(uplink);
  try {
    await host.createDomain({ name: 'echo', program: echo, args: { asks: 0 }, nics: [{ bridge: 'lan0' }] });
    t.true(host.uplinks.every(({ isUp }) => isUp));
    const socket = await first;
    t.deepEqual(told, []);
    server.close();
    socket.destroy();
    for (let i = 0; i < 200 && told.length < 1; i += 1) await sleep(20);
    const successor = await listen(path);
    t.teardown(() => successor.close());
    await talk(successor, 3);
    for (let i = 0; i < 200 && told.length < 2; i += 1) await sleep(20);
    const where = { driverDomain: 'net', index: 1, bridge: 'lan0' };
    t.deepEqual(told, [
      { ...where, isUp: false, reason: `Uplink 1 is down: ${path} closed the connection` },
      { ...where, isUp: true, reason: undefined },
    ]);
    t.deepEqual(
      host.uplinks.map(({ bridge, isUp }) => [bridge, isUp]),
      [
        ['lan1', true],
        ['lan0', true],
      ],
    );
    host.driverDomains[0]?.destroy();
    for (let i = 0; i < 100 && told.length < 4; i += 1) await sleep(20);
    t.deepEqual(
      told.slice(2).map(({ index, reason }) => [index, reason]),
      [
        [0, 'driver domain net has ended'],
        [1, 'driver domain net has ended'],
      ],
    );
  } finally {
    await host.close();
    rmSync(directory, { recursive: true });
  }
});
