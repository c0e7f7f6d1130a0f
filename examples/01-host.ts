// A host with one disk and one network, and a guest that uses them. Read next: 01-hello.guest.ts
import { createHost } from 'splitring';

const host = await createHost({
  driverDomains: [{ name: 'io', disks: { vol0: { size: '16MiB' } }, bridges: ['lan0'] }],
});
try {
  const db = await host.createDomain({
    name: 'db',
    program: new URL('./01-hello.guest.ts', import.meta.url),
    disks: [{ name: 'xvda', from: 'vol0' }],
    nics: [{ bridge: 'lan0' }],
  });
  console.log((await db.exited).result);
} finally {
  await host.close();
}
