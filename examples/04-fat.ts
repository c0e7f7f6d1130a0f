// A FAT file system in a guest, on an image that mtools can read afterwards. Read next: 04-fat.guest.ts
import { createHost } from 'splitring';

const image = process.argv[2] ?? 'splitring-fat.img';
const host = await createHost({ driverDomains: [{ name: 'io', disks: { vol0: { image, size: '16MiB' } } }] });
try {
  const files = await host.createDomain({
    name: 'files',
    program: new URL('./04-fat.guest.ts', import.meta.url),
    disks: [{ name: 'xvda', from: 'vol0' }],
  });
  const { ok, result, message } = await files.exited;
  console.log(ok ? `${result}; try: mdir -i ${image}` : message);
  if (!ok) process.exitCode = 1;
} finally {
  await host.close();
}
