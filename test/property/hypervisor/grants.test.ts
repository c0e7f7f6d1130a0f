// Random grant, map, partial unmap, copy and end of access by three domains, against a model of a page of code: what is
// pinned by whom decides every status, every status bit and whether a grant can end.
import {
  type CopySide,
  type DomainHypercalls,
  type FrameNumber,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  type GntStatus,
  type GrantHandle,
  type GrantRef,
  Hypervisor,
} from '@splitring/hypervisor';
import test from 'ava';
import fc from 'fast-check';

const FRAMES = 6;
const PARTS = GNTMAP_host_map | GNTMAP_device_map;
const READING = 8;
const WRITING = 16;

interface Grant {
  readonly ref: GrantRef;
  readonly peer: number;
  readonly frame: number;
  readonly isReadonly: boolean;
  isLive: boolean;
}

interface Mapping {
  readonly mapper: number;
  readonly handle: GrantHandle;
  readonly grants: readonly Grant[];
  readonly isReadonly: boolean;
  parts: number;
}

interface Model {
  readonly grants: Grant[];
  readonly mappings: Mapping[];
}

interface Real {
  readonly hypervisor: Hypervisor;
  readonly granter: DomainHypercalls;
  readonly mappers: readonly DomainHypercalls[];
  /** First frame of the granter's memory for each mapper. */
  readonly first: readonly number[];
  readonly table: Int32Array;
}

function build(): Real {
  const limits = { domains: 32, portsPerDomain: 32, grantFrames: 1, maptrackFrames: 1, extents: 32 };
  const hypervisor = new Hypervisor({ limits });
  const domain = hypervisor.createDomain({ name: 'granter' });
  const granter = hypervisor.attachInThread(domain);
  const mappers = [0, 1].map((i) => hypervisor.attachInThread(hypervisor.createDomain({ name: `mapper${i}` })));
  const first = mappers.map((mapper) => granter.allocateFrames(mapper.domid, FRAMES).first);
  const table = new Int32Array(domain.boot.grantTables[domain.domid] as SharedArrayBuffer);
  return { hypervisor, granter, mappers, first, table };
}

const pinsOn = (model: Model, grant: Grant): Mapping[] =>
  model.mappings.filter((mapping) => mapping.parts !== 0 && mapping.grants.includes(grant));

/** What mapping `grant` must answer. */
function expected(mapper: number, grant: Grant | undefined, isReadonly: boolean): GntStatus {
  if (grant?.isLive !== true || grant.peer !== mapper) return GNTST.general_error;
  return grant.isReadonly && !isReadonly ? GNTST.general_error : GNTST.okay;
}

function same<T>(what: string, seen: T, wanted: T): void {
  if (seen !== wanted) throw new Error(`${what}: ${String(seen)}, not ${String(wanted)}`);
}

/** The granter's table and the accounts say exactly what the model says. */
function checkAll(model: Model, real: Real): void {
  for (const grant of model.grants.filter((one) => one.isLive)) {
    const pins = pinsOn(model, grant);
    let bits = pins.length > 0 ? READING : 0;
    if (pins.some((mapping) => !mapping.isReadonly)) bits |= WRITING;
    same(`status bits of grant ${grant.ref}`, (real.table[grant.ref * 2] ?? 0) & (READING | WRITING), bits);
  }
  real.mappers.forEach((mapper, i) => {
    const usage = real.hypervisor.inspect().find((one) => one.domid === mapper.domid);
    const live = model.mappings.filter((mapping) => mapping.mapper === i && mapping.parts !== 0);
    same(
      `mappings of mapper ${i}`,
      usage?.mappings,
      live.reduce((sum, mapping) => sum + mapping.grants.length, 0),
    );
  });
}

class Command implements fc.Command<Model, Real> {
  readonly #name: string;
  readonly #act: (model: Model, real: Real) => void;
  constructor(name: string, act: (model: Model, real: Real) => void) {
    this.#name = name;
    this.#act = act;
  }
  check(): boolean {
    return true;
  }
  run(model: Model, real: Real): void {
    this.#act(model, real);
    checkAll(model, real);
  }
  toString(): string {
    return this.#name;
  }
}

const pick = <T>(list: readonly T[], index: number): T | undefined => list[index % Math.max(1, list.length)];

const grantCommand = (peer: number, frame: number, isReadonly: boolean) =>
  new Command(`grant(${peer}, ${frame}, ${isReadonly})`, (model, real) => {
    const mapper = real.mappers[peer] as DomainHypercalls;
    const ref = real.granter.grantAccess(mapper.domid, ((real.first[peer] ?? 0) + frame) as FrameNumber, isReadonly);
    model.grants.push({ ref, peer, frame, isReadonly, isLive: true });
  });

const endCommand = (index: number) =>
  new Command(`end(${index})`, (model, real) => {
    const grant = pick(
      model.grants.filter((one) => one.isLive),
      index,
    );
    if (grant === undefined) return;
    const isFree = pinsOn(model, grant).length === 0;
    same(`end of grant ${grant.ref}`, real.granter.endAccess(grant.ref), isFree);
    if (isFree) grant.isLive = false;
  });

const mapCommand = (mapper: number, index: number, flags: number) =>
  new Command(`map(${mapper}, ${index}, ${flags})`, (model, real) => {
    // References are used again: the grant that counts is the live one under that reference, if there is one.
    const some = pick(model.grants, index);
    if (some === undefined) return;
    const grant = model.grants.find((one) => one.isLive && one.ref === some.ref);
    const dom = real.granter.domid;
    const op = {
      dom,
      ref: some.ref,
      flags,
      status: GNTST.okay as GntStatus,
      handle: -1 as GrantHandle,
      frame: -1 as FrameNumber,
    };
    (real.mappers[mapper] as DomainHypercalls).mapGrants([op]);
    const isReadonly = (flags & GNTMAP_readonly) !== 0;
    const wanted = (flags & PARTS) === 0 ? GNTST.bad_gntref : expected(mapper, grant, isReadonly);
    same(`map of ${some.ref}`, op.status, wanted);
    if (wanted !== GNTST.okay || grant === undefined) return;
    same('frame', op.frame as number, (real.first[mapper] ?? 0) + grant.frame);
    model.mappings.push({ mapper, handle: op.handle, grants: [grant], isReadonly, parts: flags & PARTS });
  });

const runCommand = (mapper: number, indexes: readonly number[], flags: number) =>
  new Command(`mapRun(${mapper}, [${indexes}], ${flags})`, (model, real) => {
    const live = model.grants.filter((one) => one.isLive);
    const grants = indexes.map((index) => pick(live, index)).filter((grant) => grant !== undefined);
    if (grants.length === 0 || (flags & PARTS) === 0) return;
    const domain = real.mappers[mapper] as DomainHypercalls;
    const { status, handles, run } = domain.mapRun(
      real.granter.domid,
      grants.map((grant) => grant.ref),
      flags,
    );
    const isReadonly = (flags & GNTMAP_readonly) !== 0;
    const refusal = grants.map((grant) => expected(mapper, grant, isReadonly)).find((one) => one !== GNTST.okay);
    const isInOrder = grants.every((grant, i) => grant.frame === (grants[0]?.frame ?? 0) + i);
    same('mapRun', status === GNTST.okay, refusal === undefined && isInOrder);
    if (status !== GNTST.okay) return;
    same('length of the run', run?.bytes.length, grants.length * 4096);
    let rest = grants;
    for (const handle of handles) {
      // Each handle stands for a stretch of consecutive references.
      let length = 1;
      while (rest[length] !== undefined && rest[length]?.ref === (rest[0]?.ref ?? 0) + length) length += 1;
      model.mappings.push({ mapper, handle, grants: rest.slice(0, length), isReadonly, parts: flags & PARTS });
      rest = rest.slice(length);
    }
    same('grants left over', rest.length, 0);
  });

const unmapCommand = (index: number, flags: number, byOther: boolean) =>
  new Command(`unmap(${index}, ${flags}, ${byOther})`, (model, real) => {
    const mapping = pick(model.mappings, index);
    if (mapping === undefined) return;
    if (byOther) {
      // A handle means nothing to another domain, unless that one happens to have one of the same number.
      const other = 1 - mapping.mapper;
      if (model.mappings.some((one) => one.mapper === other && one.handle === mapping.handle)) return;
      const op = { handle: mapping.handle, flags, status: GNTST.okay as GntStatus };
      (real.mappers[other] as DomainHypercalls).unmapGrants([op]);
      same('unmap by another', op.status, GNTST.bad_handle);
      return;
    }
    // Twice in one batch: the second is as dead as the parts are.
    const ops = [0, 1].map(() => ({ handle: mapping.handle, flags, status: GNTST.okay as GntStatus }));
    (real.mappers[mapping.mapper] as DomainHypercalls).unmapGrants(ops);
    same('unmap', ops[0]?.status, (mapping.parts & flags & PARTS) !== 0 ? GNTST.okay : GNTST.bad_handle);
    same('unmap again', ops[1]?.status, GNTST.bad_handle);
    mapping.parts &= ~flags;
  });

const copyCommand = (mapper: number, from: number, to: number, lengthBytes: number) =>
  new Command(`copy(${mapper}, ${from}, ${to}, ${lengthBytes})`, (model, real) => {
    const live = model.grants.filter((one) => one.isLive);
    const source = pick(live, from);
    const dest = pick(live, to);
    if (source === undefined || dest === undefined) return;
    const side = (grant: Grant, offset: number): CopySide => ({ dom: real.granter.domid, ref: grant.ref, offset });
    const op = { source: side(source, 96), dest: side(dest, 1000), lengthBytes, status: GNTST.okay as GntStatus };
    (real.mappers[mapper] as DomainHypercalls).copyGrants([op]);
    let wanted = expected(mapper, source, true);
    if (wanted === GNTST.okay) wanted = expected(mapper, dest, false);
    if (lengthBytes > 3096) wanted = GNTST.bad_copy_arg;
    same('copy', op.status, wanted);
  });

const flags = fc.integer({ min: 0, max: 7 });
const mapper = fc.integer({ min: 0, max: 1 });
const index = fc.nat({ max: 30 });
const commands = [
  fc.tuple(mapper, fc.nat({ max: FRAMES - 1 }), fc.boolean()).map((args) => grantCommand(...args)),
  index.map(endCommand),
  fc.tuple(mapper, index, flags).map((args) => mapCommand(...args)),
  fc
    .tuple(mapper, index, fc.integer({ min: 1, max: 3 }))
    .map(([who, from, some]) =>
      runCommand(who, [from, from + 1, from + 2].slice(0, some), GNTMAP_host_map | GNTMAP_readonly),
    ),
  fc.tuple(index, fc.integer({ min: 0, max: 3 }), fc.boolean()).map((args) => unmapCommand(...args)),
  fc.tuple(mapper, index, index, fc.nat({ max: 4096 })).map((args) => copyCommand(...args)),
];

test('grants behave as the model of their pins (XSA-218, 224, 230, 236, 380, 394)', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.commands(commands, { maxCommands: 60, size: 'max' }), (sequence) => {
        fc.modelRun(() => ({ model: { grants: [], mappings: [] }, real: build() }), sequence);
      }),
      { numRuns: 150 },
    ),
  );
});
