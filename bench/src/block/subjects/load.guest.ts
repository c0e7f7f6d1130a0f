// The guest of the block benchmark: a load on its disk's queue.
import { defineGuest } from 'splitring/guest';
import { QueueLoad } from '../queue-load.ts';
import { type LoadArguments, serveTrials } from './serve-trials.ts';

export default defineGuest<LoadArguments, number>(async (guest) => {
  const { params, seed } = guest.args;
  const load = new QueueLoad(guest.disk('xvda'), params, seed);
  await serveTrials(guest.args, load);
  return load.failures;
});
