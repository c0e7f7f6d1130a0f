// What each message asks of the store: payload taken apart strictly, operation run, answer put together.
import { XENSTORE_PAYLOAD_MAX, XS, XS_ERRORS, type XsErrorName } from '../io/xs-wire.ts';
import type { StoreReply } from './client.ts';
import { domainPath } from './path.ts';
import type { StoreListing, StoreSession } from './store.ts';

/** The server's part that requests reach beyond the store. */
export interface RequestHost {
  /** Whether a domain is connected to the store. */
  isIntroduced(domid: number): boolean;
  /** Features offered in every ring page, as XS_FEATURE. */
  readonly features: number;
  /** Disconnect a domain and purge it. @returns false if it was not introduced */
  release(domid: number): boolean;
}

/** Receives the answer's payload, or the name of the error. */
export type Answer = (reply: StoreReply<string>) => void;

interface Request {
  readonly session: StoreSession;
  readonly isPrivileged: boolean;
  readonly host: RequestHost;
  readonly tx: number;
  readonly payload: string;
  readonly answer: Answer;
}

const OK: StoreReply<string> = { ok: true, value: 'OK\0' };
/** A watch without a depth reaches everything below. */
const ANY_DEPTH = Number.POSITIVE_INFINITY;
/** Decimal numbers of the protocol: domids, offsets, depths. */
const NUMBER = /^(0|[1-9][0-9]{0,8})$/;

const HANDLERS = new Map<number, (request: Request) => void>([
  [XS.DIRECTORY, directory],
  [XS.READ, (request) => onePath(request, (path) => request.session.read(request.tx, path, request.answer))],
  [XS.GET_PERMS, getPermissions],
  [XS.WATCH, watch],
  [XS.UNWATCH, unwatch],
  [XS.TRANSACTION_START, startTransaction],
  [XS.TRANSACTION_END, endTransaction],
  [XS.RELEASE, release],
  [XS.GET_DOMAIN_PATH, (request) => oneDomid(request, (domid) => `${domainPath(domid)}\0`)],
  [XS.WRITE, write],
  [XS.MKDIR, (request) => onePath(request, (path) => request.session.makeDirectory(request.tx, path, done(request)))],
  [XS.RM, (request) => onePath(request, (path) => request.session.remove(request.tx, path, done(request)))],
  [XS.SET_PERMS, setPermissions],
  [XS.IS_DOMAIN_INTRODUCED, isIntroduced],
  [XS.RESUME, resume],
  [XS.RESET_WATCHES, reset],
  [XS.DIRECTORY_PART, directoryPart],
  [XS.GET_FEATURE, getFeature],
]);

/** Only dom0 may; others are told so before anything of the payload is looked at. Some are not offered to dom0 either. */
const PRIVILEGED: ReadonlySet<number> = new Set([
  XS.CONTROL,
  XS.INTRODUCE,
  XS.RELEASE,
  XS.IS_DOMAIN_INTRODUCED,
  XS.RESUME,
  XS.SET_TARGET,
  XS.SET_FEATURE,
  XS.GET_QUOTA,
  XS.SET_QUOTA,
]);

/**
 * Run one request. `answer` is called exactly once, at once or later, with a payload of at most 4096 bytes.
 * Unknown operations answer ENOSYS, and so do those of dom0 for which the toolstack of this machine calls the server
 * itself (CONTROL, INTRODUCE, SET_TARGET, SET_FEATURE, GET_QUOTA, SET_QUOTA); to guests all of dom0's are EACCES.
 * @see xen/tools/xenstored/core.c, wire_funcs
 */
export function execute(
  session: StoreSession,
  isPrivileged: boolean,
  host: RequestHost,
  type: number,
  tx: number,
  payload: string,
  answer: Answer,
): void {
  const handler = HANDLERS.get(type);
  const bounded: Answer = (reply) => answer(boundedReply(reply));
  if (PRIVILEGED.has(type) && !isPrivileged) bounded({ ok: false, error: 'EACCES' });
  else if (handler) handler({ session, isPrivileged, host, tx, payload, answer: bounded });
  else bounded({ ok: false, error: 'ENOSYS' });
}

/** An answer that does not fit is E2BIG, never cut (XSA-72); an error without a place on the wire is EINVAL. */
function boundedReply(reply: StoreReply<string>): StoreReply<string> {
  if (reply.ok) return reply.value.length > XENSTORE_PAYLOAD_MAX ? { ok: false, error: 'E2BIG' } : reply;
  return isWireError(reply.error) ? reply : { ok: false, error: 'EINVAL' };
}

function isWireError(error: string): error is XsErrorName {
  return XS_ERRORS.some((name) => name === error);
}

function refuse(request: Request, error: XsErrorName): void {
  request.answer({ ok: false, error });
}

function done(request: Request): (reply: StoreReply<void>) => void {
  return (reply) => request.answer(reply.ok ? OK : reply);
}

/** Strings that end with a NUL each; undefined if the last one does not or the number is not in the range. */
function strings(payload: string, least: number, most: number): string[] | undefined {
  if (!payload.endsWith('\0')) return undefined;
  const parts = payload.slice(0, -1).split('\0');
  return parts.length >= least && parts.length <= most ? parts : undefined;
}

function onePath(request: Request, run: (path: string) => void): void {
  const [path] = strings(request.payload, 1, 1) ?? [];
  if (path === undefined) refuse(request, 'EINVAL');
  else run(path);
}

function oneDomid(request: Request, run: (domid: number) => string | XsErrorName): void {
  const [text] = strings(request.payload, 1, 1) ?? [];
  if (text === undefined || !NUMBER.test(text) || Number(text) >= 0x7ff0) {
    refuse(request, 'EINVAL');
    return;
  }
  const result = run(Number(text));
  request.answer(isWireError(result) ? { ok: false, error: result } : { ok: true, value: result });
}

function terminated(names: readonly string[]): string {
  return names.map((name) => `${name}\0`).join('');
}

function directory(request: Request): void {
  onePath(request, (path) =>
    request.session.directory(request.tx, path, (reply) =>
      request.answer(reply.ok ? { ok: true, value: terminated(reply.value.names) } : reply),
    ),
  );
}

function directoryPart(request: Request): void {
  const [path, offset] = strings(request.payload, 2, 2) ?? [];
  if (path === undefined || offset === undefined || !NUMBER.test(offset)) {
    refuse(request, 'EINVAL');
    return;
  }
  request.session.directory(request.tx, path, (reply) =>
    request.answer(reply.ok ? partOf(reply.value, Number(offset)) : reply),
  );
}

/** As many whole names as fit from `offset` on; one more NUL says that they were the last. */
function partOf(listing: StoreListing, offset: number): StoreReply<string> {
  const all = terminated(listing.names);
  if (offset > all.length) return { ok: false, error: 'EINVAL' };
  const head = `${listing.generation}\0`;
  const room = XENSTORE_PAYLOAD_MAX - head.length - 1;
  if (all.length - offset <= room) return { ok: true, value: `${head}${all.slice(offset)}\0` };
  const end = all.lastIndexOf('\0', offset + room - 1) + 1;
  return { ok: true, value: `${head}${all.slice(offset, end)}` };
}

function getPermissions(request: Request): void {
  onePath(request, (path) =>
    request.session.getPermissions(request.tx, path, (reply) =>
      request.answer(reply.ok ? { ok: true, value: terminated(reply.value) } : reply),
    ),
  );
}

function setPermissions(request: Request): void {
  const [path, ...permissions] = strings(request.payload, 2, XENSTORE_PAYLOAD_MAX) ?? [];
  if (path === undefined) {
    refuse(request, 'EINVAL');
    return;
  }
  request.session.setPermissions(request.tx, path, permissions, done(request));
}

function write(request: Request): void {
  const end = request.payload.indexOf('\0');
  if (end < 0) {
    refuse(request, 'EINVAL');
    return;
  }
  const { payload, session, tx } = request;
  session.write(tx, payload.slice(0, end), payload.slice(end + 1), done(request));
}

function watch(request: Request): void {
  const [path, token, depth] = strings(request.payload, 2, 3) ?? [];
  if (path === undefined || token === undefined) {
    refuse(request, 'EINVAL');
    return;
  }
  if (depth !== undefined && !NUMBER.test(depth)) {
    refuse(request, 'EINVAL');
    return;
  }
  request.session.watch(path, token, depth === undefined ? ANY_DEPTH : Number(depth), done(request));
}

function unwatch(request: Request): void {
  const [path, token] = strings(request.payload, 2, 2) ?? [];
  if (path === undefined || token === undefined) {
    refuse(request, 'EINVAL');
    return;
  }
  request.session.unwatch(path, token, done(request));
}

function reset(request: Request): void {
  request.session.reset();
  request.answer(OK);
}

function startTransaction(request: Request): void {
  if (request.tx !== 0) {
    refuse(request, 'EBUSY');
    return;
  }
  request.session.startTransaction((reply) =>
    request.answer(reply.ok ? { ok: true, value: `${reply.value}\0` } : reply),
  );
}

function endTransaction(request: Request): void {
  if (request.payload !== 'T\0' && request.payload !== 'F\0') {
    refuse(request, 'EINVAL');
    return;
  }
  request.session.endTransaction(request.tx, request.payload === 'T\0', done(request));
}

function release(request: Request): void {
  oneDomid(request, (domid) => (request.host.release(domid) ? 'OK\0' : 'ENOENT'));
}

function isIntroduced(request: Request): void {
  oneDomid(request, (domid) => (request.host.isIntroduced(domid) ? 'T\0' : 'F\0'));
}

function resume(request: Request): void {
  oneDomid(request, (domid) => (request.host.isIntroduced(domid) ? 'OK\0' : 'ENOENT'));
}

/** What the asking domain may use; dom0 may ask for another one's. */
function getFeature(request: Request): void {
  const { payload, isPrivileged, host } = request;
  const features = `${host.features}\0`;
  if (payload === '' || payload === '\0') request.answer({ ok: true, value: features });
  else if (!isPrivileged) refuse(request, 'EACCES');
  else oneDomid(request, (domid) => (host.isIntroduced(domid) ? features : 'ENOENT'));
}
