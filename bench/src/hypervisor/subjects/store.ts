// Xenstore over the ring page, server and client on one thread: what an operation costs apart from waiting.
import { type DomId, MemoryStore, RingXenstoreClient, XenstoreServer } from '@splitring/hypervisor';
import type { OpenSubject } from '../../harness/contract.ts';
import { time } from '../machine.ts';
import type { HypervisorParams } from '../params.ts';

/** Open the subject. */
export function open({ way }: HypervisorParams): OpenSubject {
  const clock = { nowMs: () => 0 };
  const server = new XenstoreServer({ store: new MemoryStore(), clock });
  const dom0 = server.directClient();
  const connect = (domid: number) => {
    const page = new Uint8Array(new SharedArrayBuffer(4096));
    server.introduce({ domid: domid as DomId, generation: 1, page, notify: () => {} });
    return new RingXenstoreClient({ page, notify: () => {} });
  };
  const client = connect(1);
  const watcher = connect(2);
  let answers = 0;
  let fired = 0;
  const pump = (isDone: () => boolean) => {
    for (let i = 0; i < 1000 && !isDone(); i++) {
      dom0.poll();
      server.poll();
      client.poll();
      watcher.poll();
    }
    if (!isDone()) throw new Error('no answer');
  };
  const done = () => {
    answers += 1;
  };
  dom0.write('/bench', 'value', done);
  dom0.setPermissions('/bench', ['b1', 'b2'], done);
  pump(() => answers === 2);
  const stop = watcher.watch('/bench', () => {
    fired += 1;
  });
  pump(() => fired === 1);
  if (way !== 'watch') stop();
  const once = () => {
    const before = way === 'watch' ? fired : answers;
    if (way === 'read') client.read('/bench', done);
    else client.write('/bench', 'other', done);
    pump(() => (way === 'watch' ? fired : answers) > before);
  };
  return { trial: (operations) => ({ value: time(operations, once) }) };
}
