// A guest for tests: ends in the way its arguments say.
import { defineGuest } from 'splitring/guest';

export default defineGuest<string>((guest) => {
  switch (guest.args) {
    case 'throw':
      throw new RangeError('as told');
    case 'exit':
      return process.exit(3);
    case 'loop':
      for (;;);
    case 'block':
      return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    case 'out-of-memory': {
      // Large pieces: where small ones fill a heap, Node 24 often ends the whole process (docs/threat-model.md), and this
      // is about a thread that ends.
      const hoard: number[][] = [];
      for (;;) hoard.push(new Array(1_000_000).fill(1.5));
    }
    case 'no such disk':
      return guest.disk('xvdq');
    case 'sync': {
      const sector = new Uint8Array(512).fill(7);
      guest.disk('xvda').writeSync(0, sector);
      sector.fill(0);
      guest.disk('xvda').readSync(0, sector);
      return sector[511];
    }
    default:
      guest.print(`hello from ${guest.name}`);
      return { args: guest.args };
  }
});
