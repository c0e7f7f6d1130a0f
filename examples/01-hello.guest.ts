// The guest of 01-host.ts: writes a sector, makes it durable, reads it back. Read next: docs/architecture.md
import { defineGuest } from 'splitring/guest';

export default defineGuest(async (guest) => {
  const disk = guest.disk('xvda');
  await disk.write(4096, new TextEncoder().encode('hello'.padEnd(512)));
  await disk.flush();
  const sector = new Uint8Array(512);
  await disk.read(4096, sector);
  return new TextDecoder().decode(sector).trimEnd();
});
