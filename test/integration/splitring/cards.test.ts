// Cards by configuration, with real threads: two bridges joined by a cable, and how little an idle network costs.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { createHost } from 'splitring';

const echo = new URL('./echo.guest.ts', import.meta.url);

test.serial('frames go from guest to guest over two bridges, two cards and a cable that loses some', async (t) => {
  const rules = [{ kind: 'partition' as const, fromMs: 300, toMs: 400 }];
  const card = { queues: 2, faults: { loss: 0.1, duplication: 0.05, delayMs: 1, rules }, seed: 3 };
  const host = await createHost({
    driverDomains: [{ name: 'net', bridges: ['lan0', 'lan1'], uplinks: [{ bridge: 'lan0', to: 'lan1', card }] }],
  });
  try {
    await host.createDomain({ name: 'echo', program: echo, args: { asks: 0 }, nics: [{ bridge: 'lan1' }] });
    const asker = await host.createDomain({
      name: 'asker',
      program: echo,
      args: { asks: 50 },
      nics: [{ bridge: 'lan0' }],
    });
    const { result, message } = await asker.exited;
    t.like(result as object, { answered: 50, wrong: 0 }, message);
    t.true((result as { sent: number }).sent > 50, 'some were lost and sent again');
    const counters = host.driverDomains[0]?.counters ?? t.fail();
    await sleep(200); // the driver domain shows them before it sleeps
    t.true(counters.read('lan0.flooded') > 50 && counters.read('lan1.forwarded') >= 50);
  } finally {
    await host.close();
  }
});

test.serial(
  'guests of two bridges reach each other through the switch inside a card, and so does whoever is outside',
  async (t) => {
    const uplinks = [
      { bridge: 'lan0', to: 'lan2', card: { name: 'eth0', faults: { duplication: 0.2 } } },
      { bridge: 'lan1', functionOf: 'eth0', queues: 2 },
    ];
    const host = await createHost({ driverDomains: [{ name: 'net', bridges: ['lan0', 'lan1', 'lan2'], uplinks }] });
    try {
      for (const bridge of ['lan1', 'lan2']) {
        const echoing = await host.createDomain({ name: 'echo', program: echo, args: { asks: 0 }, nics: [{ bridge }] });
        const asker = await host.createDomain({
          name: 'asker',
          program: echo,
          args: { asks: 20 },
          nics: [{ bridge: 'lan0' }],
        });
        const { result, message } = await asker.exited;
        t.like(result as object, { answered: 20, wrong: 0 }, `${bridge}: ${message}`);
        await echoing.shutdown();
      }
    } finally {
      await host.close();
    }
  },
);

test.serial('a trunk carries VLANs from bridge to bridge, and keeps them apart', async (t) => {
  const uplinks = [{ bridge: 'lan0', to: 'lan1', trunk: true }];
  const host = await createHost({ driverDomains: [{ name: 'net', bridges: ['lan0', 'lan1'], uplinks }] });
  try {
    const guest = (name: string, bridge: string, vlan: number, asks: number) =>
      host.createDomain({ name, program: echo, args: { asks }, nics: [{ bridge, vlan }] });
    await guest('echo', 'lan1', 7, 0);
    const [same, other] = [await guest('same', 'lan0', 7, 20), await guest('other', 'lan0', 8, 20)];
    const { result, message } = await same.exited;
    t.like(result as object, { answered: 20, wrong: 0 }, message);
    t.like((await other.shutdown()).result as object, { answered: 0 });
  } finally {
    await host.close();
  }
});

test.serial('a cable to a bridge that does not exist is a clear error', async (t) => {
  const creating = createHost({
    driverDomains: [{ name: 'net', bridges: ['lan0'], uplinks: [{ bridge: 'lan0', to: 'lan9' }] }],
  });
  await t.throwsAsync(creating, { code: 'NO_SUCH_BRIDGE', message: /lan9: there is lan0/ });
});

test.serial('a driver domain with an open uplink sleeps while nothing happens', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'splitring-idle-'));
  const uplinks = [{ bridge: 'lan0', listen: join(directory, 'lan0.sock') }];
  const host = await createHost({ driverDomains: [{ name: 'net', bridges: ['lan0'], uplinks }] });
  try {
    await host.createDomain({ name: 'echo', program: echo, args: { asks: 0 }, nics: [{ bridge: 'lan0' }] });
    await sleep(500);
    const before = process.cpuUsage();
    await sleep(2000);
    const { user, system } = process.cpuUsage(before);
    // Milliseconds of this process in 2000; a thread that never sleeps takes all of them, these take some ten.
    t.true((user + system) / 1000 < 600, `${(user + system) / 1000} ms of processor time`);
  } finally {
    await host.close();
    rmSync(directory, { recursive: true });
  }
});
