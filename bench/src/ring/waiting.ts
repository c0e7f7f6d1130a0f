// The ways in which both ends of a case wait, by the name that cases carry.
import {
  type AsyncWaitStrategy,
  busySpin,
  type DoorbellPort,
  portDoorbell,
  spinThenWait,
  type WaitStrategy,
  waitAsync,
} from 'sharedarraybuffer-ring';

/** `spin`: never sleep. `adaptive`: spin, then sleep. `block`: sleep at once. `async`, `port`: on the event loop. */
export type WaitName = 'spin' | 'adaptive' | 'block' | 'async' | 'port';

/** Every way to wait, in the order of the plots. */
export const WAIT_NAMES: readonly WaitName[] = ['spin', 'adaptive', 'block', 'async', 'port'];

/** True for the ways that live on the event loop. */
export function isAsync(wait: string): boolean {
  return wait === 'async' || wait === 'port';
}

/** Make the strategy that a case names; `port` is the one to the other thread, for the doorbell. */
export function strategyOf(wait: string, port: DoorbellPort): WaitStrategy | AsyncWaitStrategy {
  if (wait === 'spin') return busySpin();
  if (wait === 'adaptive') return spinThenWait();
  if (wait === 'block') return spinThenWait({ maxSpins: 0 });
  return wait === 'async' ? waitAsync() : portDoorbell(port);
}
