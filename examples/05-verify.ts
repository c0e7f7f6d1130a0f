// A load that checks every block it reads: offset, generation and checksum are in each. Read next: 05-verify.guest.ts
import { createHost } from 'splitring';

const image = process.argv[2] ?? 'splitring-verify.img';
const host = await createHost({ driverDomains: [{ name: 'io', disks: { vol0: { image, size: '16MiB' } } }] });
try {
  const load = await host.createDomain({
    name: 'load',
    program: new URL('./05-verify.guest.ts', import.meta.url),
    args: { writes: 20_000, depth: 32 },
    disks: [{ name: 'xvda', from: 'vol0' }],
  });
  const { ok, result, message } = await load.exited;
  console.log(ok ? result : message);
  if (!ok) process.exitCode = 1;
} finally {
  await host.close();
}
