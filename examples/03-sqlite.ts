// SQLite in a guest, its database on a virtual disk. Read next: 03-sqlite.guest.ts
import { createHost } from 'splitring';

const image = process.argv[2];
const host = await createHost({
  driverDomains: [{ name: 'io', disks: { vol0: image === undefined ? { size: '16MiB' } : { image, size: '16MiB' } } }],
});
try {
  const database = await host.createDomain({
    name: 'database',
    program: new URL('./03-sqlite.guest.ts', import.meta.url),
    disks: [{ name: 'xvda', from: 'vol0' }],
  });
  const { ok, result, message } = await database.exited;
  console.log(ok ? result : message);
  if (!ok) process.exitCode = 1;
} finally {
  await host.close();
}
