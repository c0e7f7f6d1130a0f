export { type ErrorData, InvariantError, ProtocolError, RingError, SplitringError } from './error.ts';
