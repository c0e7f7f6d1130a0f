// A host with real threads: guests end in every way, others do not notice, nothing stays behind.
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { createHost, type Host, type HostConfig } from 'splitring';

const faulty = new URL('./faulty.guest.ts', import.meta.url);
const steady = new URL('./steady.guest.ts', import.meta.url);

async function withHost(work: (host: Host) => Promise<void>, extents?: HostConfig['extents']): Promise<void> {
  const host = await createHost({
    driverDomains: [{ name: 'io', disks: { vol0: { size: '4MiB' } }, bridges: ['lan0'] }],
    extents,
  });
  try {
    await work(host);
  } finally {
    await host.close();
  }
}

const guestDisk = [{ name: 'xvda', from: 'vol0' }];

test.serial('in the steady state no message goes over a port, however many operations', async (t) => {
  await withHost(async (host) => {
    const guest = await host.createDomain({
      name: 'steady',
      program: steady,
      disks: guestDisk,
      counters: ['operations'],
    });
    while (guest.counters.read('operations') < 100) await sleep(5);
    const messages = host.controlMessages;
    const operations = guest.counters.read('operations');
    while (guest.counters.read('operations') < operations + 1000) await sleep(5);
    t.is(host.controlMessages - messages, 0);
    const outcome = await guest.shutdown();
    t.like(outcome, { ok: true, kind: 'returned', result: 'stopped' });
  });
});

test.serial('a guest with a limit on its disk makes no more requests a second than it may', async (t) => {
  await withHost(async (host) => {
    const disks = guestDisk.map((disk) => ({ ...disk, iops: 100 }));
    const guest = await host.createDomain({ name: 'limited', program: steady, disks, counters: ['operations'] });
    while (guest.counters.read('operations') === 0) await sleep(5);
    const before = guest.counters.read('operations');
    const started = process.hrtime.bigint();
    await sleep(1000);
    const operations = guest.counters.read('operations') - before;
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    t.true(operations > 0 && operations <= 100 * seconds + 20, `${operations} in ${seconds} s`);
    t.like(await guest.shutdown(), { ok: true });
  });
});

const ends: readonly {
  readonly how: string;
  readonly kind: string;
  readonly message: RegExp;
  readonly code?: string;
  readonly isDestroyed?: boolean;
}[] = [
  { how: 'throw', kind: 'threw', message: /as told/ },
  { how: 'exit', kind: 'exited', message: /code: 3/ },
  { how: 'loop', kind: 'killed', message: /destroyed/, isDestroyed: true },
  { how: 'block', kind: 'killed', message: /destroyed/, isDestroyed: true },
  { how: 'out-of-memory', kind: 'out-of-memory', message: /memory/ },
  { how: 'no such disk', kind: 'threw', message: /there is xvda/, code: 'NO_SUCH_DISK' },
];

test.serial(
  'a guest may end in any way: it is named, its neighbour goes on, and the host takes all back',
  async (t) => {
    await withHost(async (host) => {
      const neighbour = await host.createDomain({
        name: 'neighbour',
        program: steady,
        disks: guestDisk,
        counters: ['operations'],
      });
      for (const { how, kind, message, code, isDestroyed } of ends) {
        const guest = await host.createDomain({
          name: 'faulty',
          program: faulty,
          args: how,
          disks: guestDisk,
          memory: '64MiB',
        });
        if (isDestroyed === true) {
          await sleep(300);
          guest.destroy();
        }
        const outcome = await guest.exited;
        t.is(outcome.kind, kind as typeof outcome.kind, how);
        t.false(outcome.ok);
        t.regex(outcome.message, message);
        t.is(outcome.code, code);
        const before = neighbour.counters.read('operations');
        while (neighbour.counters.read('operations') < before + 10) await sleep(5);
      }
      t.true((await neighbour.shutdown()).ok);
    });
  },
);

test.serial('a guest may use its disk synchronously, returns plain data, and prints to its console', async (t) => {
  await withHost(async (host) => {
    const lines: string[] = [];
    host.onConsole = (domain, line) => lines.push(`${domain}: ${line}`);
    const sync = await host.createDomain({ name: 'sync', program: faulty, args: 'sync', disks: guestDisk });
    t.like(await sync.exited, { ok: true, result: 7 });
    const plain = await host.createDomain({ name: 'plain', program: faulty, args: 'anything else' });
    t.deepEqual((await plain.exited).result, { args: 'anything else' });
    t.deepEqual(lines, ['plain: hello from plain']);
  });
});

const refused: readonly {
  readonly name: string;
  readonly config: object;
  readonly code: string;
  readonly message: RegExp;
}[] = [
  { name: 'a name with a space', config: { name: 'a b' }, code: 'BAD_CONFIG', message: /name: use 1 to 63/ },
  { name: 'a word that is not known', config: { disk: [] }, code: 'BAD_CONFIG', message: /disk/ },
  {
    name: 'arguments that no thread can be given',
    config: { args: { call: () => 1 } },
    code: 'BAD_CONFIG',
    message: /args: a thread can be given plain data only/,
  },
  {
    name: 'a disk that is not there',
    config: { disks: [{ name: 'xvda', from: 'vol9' }] },
    code: 'NO_SUCH_DISK',
    message: /vol9: there is vol0/,
  },
  {
    name: 'a slice beyond the disk',
    config: { disks: [{ name: 'xvda', from: 'vol0', slice: { offset: '4MiB', size: '512B' } }] },
    code: 'BAD_CONFIG',
    message: /vol0 has 4194304 bytes/,
  },
  {
    name: 'two disks of one name',
    config: { disks: [...guestDisk, ...guestDisk] },
    code: 'BAD_CONFIG',
    message: /two disks are named "xvda"/,
  },
  {
    name: 'a bridge that is not there',
    config: { nics: [{ bridge: 'lan9' }] },
    code: 'NO_SUCH_BRIDGE',
    message: /lan0/,
  },
  {
    name: 'a group address',
    config: { nics: [{ bridge: 'lan0', mac: '01:00:5e:00:00:01' }] },
    code: 'BAD_CONFIG',
    message: /group address/,
  },
];

test.serial('createDomain refuses a wrong configuration with a code, before anything is built', async (t) => {
  await withHost(async (host) => {
    for (const { name, config, code, message } of refused) {
      const error = await t.throwsAsync(
        () => host.createDomain({ name: 'x', program: faulty, ...config }),
        { code },
        name,
      );
      t.regex(error.message, message);
    }
  });
});

test.serial('a program that cannot be loaded is a guest that ended, not a hang', async (t) => {
  await withHost(async (host) => {
    const missing = await host.createDomain({
      name: 'missing',
      program: new URL('./missing.guest.ts', import.meta.url),
    });
    const outcome = await missing.exited;
    t.false(outcome.ok);
    t.is(outcome.code, 'ERR_MODULE_NOT_FOUND');
    const wrong = await host.createDomain({ name: 'wrong', program: new URL('./host.test.ts', import.meta.url) });
    t.false((await wrong.exited).ok);
  });
});

test.serial('a closed host creates nothing, and closing twice is harmless', async (t) => {
  const host = await createHost();
  await host.close();
  await host.close();
  await t.throwsAsync(() => host.createDomain({ name: 'late', program: faulty }), { code: 'HOST_CLOSED' });
});

test.serial(
  'after the end of a driver domain its disks and bridges are refused at once; nothing is left behind',
  async (t) => {
    await withHost(async (host) => {
      const [io] = host.driverDomains;
      io?.destroy();
      await io?.exited;
      t.true(io?.hasEnded);
      const refused = { code: 'DRIVER_DOMAIN_ENDED', message: /driver domain io, which serves its devices, has ended/ };
      for (const devices of [{ disks: guestDisk }, { nics: [{ bridge: 'lan0' }] }]) {
        await t.throwsAsync(host.createDomain({ name: 'late', program: faulty, ...devices }), refused);
      }
      t.deepEqual(
        host.inspect().map(({ name }) => name),
        ['dom0'],
      );
    });
  },
);

test.serial('a guest that is being made while its host closes ends with it', async (t) => {
  const host = await createHost({ driverDomains: [{ name: 'io', disks: { vol0: { size: '4MiB' } } }] });
  const making = host.createDomain({ name: 'late', program: steady, disks: guestDisk, counters: ['operations'] });
  await host.close();
  const late = await making;
  await late.exited;
  t.deepEqual(
    host.inspect().map(({ name }) => name),
    ['dom0'],
  );
});

test.serial('two cards with one address on one bridge are refused; a successor may have it', async (t) => {
  await withHost(async (host) => {
    const nics = [{ bridge: 'lan0', mac: '00:16:3e:00:00:07' }];
    const first = await host.createDomain({ name: 'first', program: steady, disks: guestDisk, nics });
    const refused = { code: 'BAD_CONFIG', message: /00:16:3e:00:00:07 on lan0 belongs to first/ };
    await t.throwsAsync(host.createDomain({ name: 'second', program: steady, disks: guestDisk, nics }), refused);
    const twice = { code: 'BAD_CONFIG', message: /another card of its own/ };
    const own = [...nics, ...nics].map((nic) => ({ ...nic, mac: '00:16:3e:00:00:08' }));
    await t.throwsAsync(host.createDomain({ name: 'third', program: steady, disks: guestDisk, nics: own }), twice);
    first.destroy();
    await first.exited;
    const successor = await host.createDomain({ name: 'successor', program: steady, disks: guestDisk, nics });
    successor.destroy();
  });
});

for (const extents of ['separate-wasm', { shared: '64MiB' }] as const) {
  test.serial(`guests run on extents of another kind: ${JSON.stringify(extents)}`, async (t) => {
    await withHost(async (host) => {
      const guest = await host.createDomain({
        name: 'steady',
        program: steady,
        disks: guestDisk,
        counters: ['operations'],
      });
      while (guest.counters.read('operations') < 100) await sleep(5);
      t.like(await guest.shutdown(), { ok: true, kind: 'returned', result: 'stopped' });
    }, extents);
  });
}

test('a host that cannot have its memory says so', async (t) => {
  await t.throwsAsync(createHost({ extents: { shared: '8GiB' } }), { code: 'BAD_CONFIG', message: /8589934592 bytes/ });
});
