// A network card as a Node Duplex of frames. Subpath `@splitring/frontend/nic-node-streams`.
import { Duplex } from 'node:stream';
import type { Nic } from '../net/nic.ts';
import { framesOf } from './nic-streams.ts';

/**
 * One chunk, one frame, both ways; back-pressure both ways. The readable side ends when the card is unplugged.
 *
 * @example
 * nicDuplex(first).pipe(nicDuplex(second)); // a repeater
 */
export function nicDuplex(nic: Nic): Duplex {
  const end = new AbortController();
  const frames = framesOf(nic, end.signal);
  const send = async (frame: Uint8Array): Promise<void> => {
    while (!nic.send(frame)) {
      if (nic.isRemoved) throw new Error('Cannot send: the card is unplugged');
      await nic.whenWritable();
    }
  };
  return new Duplex({
    objectMode: true,
    read() {
      frames.next().then(
        ({ done, value }) => this.push(done === true ? null : value),
        (error: Error) => this.destroy(error),
      );
    },
    write(frame: Uint8Array, _encoding, done) {
      send(frame).then(() => done(), done);
    },
    destroy(error, done) {
      end.abort();
      done(error);
    },
  });
}
