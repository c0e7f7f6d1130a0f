// One client of an exported disk: bytes in, bytes out, the disk in between. Knows nothing of sockets.
import { SplitringError } from 'sharedarraybuffer-ring';
import { BlockError } from '../block/block-error.ts';
import { ByteQueue } from './byte-queue.ts';
import { type NbdExport, NbdOptions } from './nbd-options.ts';
import {
  BASE_ALLOCATION,
  type Field,
  IHAVEOPT,
  MAX_PAYLOAD,
  message,
  NBD_CMD,
  NBD_CMD_FLAG,
  NBD_ERROR,
  NBD_HANDSHAKE,
  NBD_REPLY_TYPE,
  NBD_STATE,
  NBDMAGIC,
  type NbdError,
  type NbdRequest,
  OPTION_BYTES,
  parseRequest,
  REQUEST_BYTES,
  readReply,
  simpleReply,
  structuredReply,
} from './nbd-protocol.ts';

/** Where a session's bytes go. */
export interface NbdPeer {
  /** Send bytes to the client. */
  send(bytes: Uint8Array): void;
  /** End the connection once everything sent is out. */
  close(): void;
}

const MAX_OPTION_BYTES = 65_536;
const MAX_OPTIONS = 256;
/** Bytes and requests that one client may have under way before it is not read from. */
const MAX_BUSY_BYTES = 64 << 20;
const MAX_BUSY_REQUESTS = 128;
/** Extents of one block status. */
const MAX_EXTENTS = 1024;
/** The flags that each command knows. */
const KNOWN_FLAGS: Readonly<Record<number, number>> = {
  [NBD_CMD.READ]: NBD_CMD_FLAG.FUA | NBD_CMD_FLAG.DF,
  [NBD_CMD.WRITE]: NBD_CMD_FLAG.FUA,
  [NBD_CMD.FLUSH]: NBD_CMD_FLAG.FUA,
  [NBD_CMD.TRIM]: NBD_CMD_FLAG.FUA,
  [NBD_CMD.WRITE_ZEROES]: NBD_CMD_FLAG.FUA | NBD_CMD_FLAG.NO_HOLE,
  [NBD_CMD.BLOCK_STATUS]: NBD_CMD_FLAG.FUA | NBD_CMD_FLAG.REQ_ONE,
};

/**
 * Serves one connection. A client that breaks the protocol loses it, and nothing else; one that asks for what cannot be
 * is told so by the exact error and goes on.
 *
 * @example
 * const session = new NbdSession({ name: 'xvda', disk }, { send: (bytes) => socket.write(bytes), close: () => socket.end() });
 * socket.on('data', (chunk) => session.receive(chunk));
 */
export class NbdSession {
  /** Called when the session can be read from again. */
  onResume: () => void = () => {};
  private readonly target: NbdExport;
  private readonly peer: NbdPeer;
  private readonly options: NbdOptions;
  private readonly input = new ByteQueue();
  private phase: 'flags' | 'options' | 'requests' | 'over' = 'flags';
  private optionCount = 0;
  private option: { readonly code: number; readonly lengthBytes: number } | undefined;
  private write: NbdRequest | undefined;
  private busyBytes = 0;
  private busyRequests = 0;

  /** Greet the client. */
  constructor(target: NbdExport, peer: NbdPeer) {
    this.target = target;
    this.peer = peer;
    this.options = new NbdOptions(target, (bytes) => peer.send(bytes));
    const flags = NBD_HANDSHAKE.FIXED_NEWSTYLE | NBD_HANDSHAKE.NO_ZEROES;
    peer.send(message([NBDMAGIC, 8], [IHAVEOPT, 8], [flags, 2]));
  }

  /** Whether the client has enough under way: stop reading from it until `onResume`. */
  get isBusy(): boolean {
    return this.busyBytes >= MAX_BUSY_BYTES || this.busyRequests >= MAX_BUSY_REQUESTS;
  }

  /** Whether the negotiation is done. */
  get isTransmitting(): boolean {
    return this.phase === 'requests';
  }

  /** Take what the client sent. Never throws for what it says. */
  receive(chunk: Uint8Array): void {
    this.input.push(chunk);
    while (this.phase !== 'over' && this.step());
  }

  /** The connection is gone; what is under way runs to its end, unanswered. */
  end(): void {
    this.phase = 'over';
  }

  /** Do one thing with what has come. @returns false if more bytes are needed */
  private step(): boolean {
    if (this.phase === 'flags') return this.takeFlags();
    if (this.phase === 'options') return this.takeOption();
    return this.takeRequest();
  }

  private takeFlags(): boolean {
    const bytes = this.input.take(4);
    if (bytes === undefined) return false;
    const flags = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0);
    const known = NBD_HANDSHAKE.FIXED_NEWSTYLE | NBD_HANDSHAKE.NO_ZEROES;
    if ((flags & ~known) !== 0 || (flags & NBD_HANDSHAKE.FIXED_NEWSTYLE) === 0) return this.drop();
    this.options.hasNoZeroes = (flags & NBD_HANDSHAKE.NO_ZEROES) !== 0;
    this.phase = 'options';
    return true;
  }

  private takeOption(): boolean {
    if (this.option === undefined) {
      const bytes = this.input.take(OPTION_BYTES);
      if (bytes === undefined) return false;
      const view = new DataView(bytes.buffer, bytes.byteOffset, OPTION_BYTES);
      this.optionCount += 1;
      const lengthBytes = view.getUint32(12);
      const isBad = view.getBigUint64(0) !== IHAVEOPT || lengthBytes > MAX_OPTION_BYTES;
      if (isBad || this.optionCount > MAX_OPTIONS) return this.drop();
      this.option = { code: view.getUint32(8), lengthBytes };
    }
    const data = this.input.take(this.option.lengthBytes);
    if (data === undefined) return false;
    const { code } = this.option;
    this.option = undefined;
    const outcome = this.options.answer(code, data);
    if (outcome === 'close') return this.drop();
    if (outcome === 'transmission') this.phase = 'requests';
    return true;
  }

  private takeRequest(): boolean {
    if (this.write !== undefined) return this.takePayload(this.write);
    const bytes = this.input.take(REQUEST_BYTES);
    if (bytes === undefined) return false;
    const request = parseRequest(bytes);
    if (request === undefined || request.type === NBD_CMD.DISC) return this.drop();
    if (request.type === NBD_CMD.WRITE) {
      // Its data follows whatever we think of it; more than anybody may send cannot be skipped.
      if (request.lengthBytes > MAX_PAYLOAD) return this.drop();
      this.write = request;
      return true;
    }
    this.serve(request, undefined);
    return true;
  }

  private takePayload(request: NbdRequest): boolean {
    const payload = this.input.take(request.lengthBytes);
    if (payload === undefined) return false;
    this.write = undefined;
    this.serve(request, payload);
    return true;
  }

  private serve(request: NbdRequest, payload: Uint8Array | undefined): void {
    const error = this.check(request);
    if (error !== 0) {
      this.answerError(request, error);
      return;
    }
    this.busyRequests += 1;
    this.busyBytes += request.lengthBytes;
    const finished = (outcome: NbdError | Uint8Array) => {
      const wasBusy = this.isBusy;
      this.busyRequests -= 1;
      this.busyBytes -= request.lengthBytes;
      if (this.phase === 'over') return;
      if (typeof outcome === 'number' && outcome !== 0) this.answerError(request, outcome);
      else this.answer(request, typeof outcome === 'number' ? undefined : outcome);
      if (wasBusy && !this.isBusy) this.onResume();
    };
    this.execute(request, payload).then(finished, (error: unknown) => finished(errorOf(error)));
  }

  /** Refuse what the protocol says must be refused, with the error that it names. */
  private check(request: NbdRequest): NbdError {
    const { type, flags, offset, lengthBytes } = request;
    const { disk } = this.target;
    const known = KNOWN_FLAGS[type];
    if (known === undefined || (flags & ~known) !== 0) return NBD_ERROR.EINVAL;
    if ((flags & NBD_CMD_FLAG.FUA) !== 0 && !disk.hasFlush) return NBD_ERROR.EINVAL;
    if (type === NBD_CMD.FLUSH) return offset === 0n && lengthBytes === 0 ? 0 : NBD_ERROR.EINVAL;
    const isChange = type === NBD_CMD.WRITE || type === NBD_CMD.TRIM || type === NBD_CMD.WRITE_ZEROES;
    if (isChange && disk.isReadOnly) return NBD_ERROR.EPERM;
    if (type === NBD_CMD.BLOCK_STATUS && !this.options.hasAllocationContext) return NBD_ERROR.EINVAL;
    if (offset + BigInt(lengthBytes) > BigInt(disk.capacityBytes)) {
      return type === NBD_CMD.WRITE || type === NBD_CMD.WRITE_ZEROES ? NBD_ERROR.ENOSPC : NBD_ERROR.EINVAL;
    }
    if (type === NBD_CMD.READ && lengthBytes > MAX_PAYLOAD) return NBD_ERROR.EOVERFLOW;
    const isAligned = offset % BigInt(disk.blockBytes) === 0n && lengthBytes % disk.blockBytes === 0;
    if (lengthBytes === 0 || !isAligned) return NBD_ERROR.EINVAL;
    return type === NBD_CMD.TRIM && !disk.hasDiscard ? NBD_ERROR.ENOTSUP : 0;
  }

  private async execute(request: NbdRequest, payload: Uint8Array | undefined): Promise<0 | Uint8Array> {
    const { disk, zeroes } = this.target;
    const { type, offset, lengthBytes } = request;
    const at = Number(offset); // inside the disk
    const isDurable = (request.flags & NBD_CMD_FLAG.FUA) !== 0;
    if (type === NBD_CMD.READ) {
      const { reply, data } = readReply(request, this.options.hasStructuredReplies);
      await disk.read(offset, data);
      return reply;
    }
    if (type === NBD_CMD.WRITE && payload !== undefined) {
      zeroes?.touch(at, lengthBytes);
      await disk.write(offset, payload, { isDurable });
    } else if (type === NBD_CMD.FLUSH) await disk.flush();
    else if (type === NBD_CMD.TRIM) {
      zeroes?.touch(at, lengthBytes); // what it reads as is not defined
      await disk.discard(offset, lengthBytes);
    } else if (type === NBD_CMD.WRITE_ZEROES) await this.zero(at, lengthBytes);
    const isWithoutOwnFua = type === NBD_CMD.TRIM || type === NBD_CMD.WRITE_ZEROES;
    if (isDurable && isWithoutOwnFua) await disk.flush();
    return 0;
  }

  /** Tell that `request` has succeeded. `reply` is all of the answer, where it was prepared. */
  private answer(request: NbdRequest, reply: Uint8Array | undefined): void {
    const { cookie, type } = request;
    const { peer } = this;
    if (reply !== undefined) {
      peer.send(reply);
    } else if (type === NBD_CMD.BLOCK_STATUS) {
      const extents = message([BASE_ALLOCATION.id, 4], ...this.describe(request));
      peer.send(structuredReply(NBD_REPLY_TYPE.BLOCK_STATUS, cookie, extents.byteLength, extents));
    } else {
      peer.send(simpleReply(0, cookie));
    }
  }

  private async zero(offset: number, lengthBytes: number): Promise<void> {
    const { disk, zeroes } = this.target;
    const zeroing = zeroes?.begin(offset, lengthBytes);
    try {
      await disk.writeZeroes(offset, lengthBytes);
      if (zeroing !== undefined) zeroes?.commit(zeroing);
    } catch (error) {
      if (zeroing !== undefined) zeroes?.abandon(zeroing);
      throw error;
    }
  }

  /** Length and state of each extent. Zeros are holes as well: a write there may find the medium full. */
  private describe({ offset, lengthBytes, flags }: NbdRequest): Field[] {
    const most = (flags & NBD_CMD_FLAG.REQ_ONE) === 0 ? MAX_EXTENTS : 1;
    const known = this.target.zeroes?.extents(Number(offset), lengthBytes, most) ?? [{ lengthBytes, isZero: false }];
    return known.flatMap((extent): Field[] => [
      [extent.lengthBytes, 4],
      [extent.isZero ? NBD_STATE.HOLE | NBD_STATE.ZERO : 0, 4],
    ]);
  }

  private answerError(request: NbdRequest, error: NbdError): void {
    const { cookie } = request;
    if (!this.options.hasStructuredReplies) this.peer.send(simpleReply(error, cookie));
    else this.peer.send(structuredReply(NBD_REPLY_TYPE.ERROR, cookie, 6, message([error, 4], [0, 2])));
  }

  private drop(): false {
    this.phase = 'over';
    this.peer.close();
    return false;
  }
}

/** The one place where an error becomes one of the protocol's; one that we do not know is our bug, and EIO. */
function errorOf(error: unknown): NbdError {
  if (error instanceof RangeError) return NBD_ERROR.EINVAL;
  if (!(error instanceof BlockError || error instanceof SplitringError)) return NBD_ERROR.EIO;
  switch (error.code) {
    case 'BLOCK_NO_SPACE':
      return NBD_ERROR.ENOSPC;
    case 'BLOCK_READ_ONLY':
      return NBD_ERROR.EPERM;
    case 'BLOCK_UNSUPPORTED':
      return NBD_ERROR.ENOTSUP;
    case 'BLOCK_GONE':
      return NBD_ERROR.ESHUTDOWN;
    default: // a range that was checked before is not the client's mistake: the medium has lost it
      return NBD_ERROR.EIO;
  }
}
