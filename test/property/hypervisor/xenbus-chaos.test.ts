// Domains come and go, devices are attached, detached and moved in any order and at any moment: in the end all is well.
import { type DomId, detachDevice, reattachDevice } from '@splitring/hypervisor';
import test from 'ava';
import fc from 'fast-check';
import { XenbusCluster } from '../../support/xenbus-cluster.ts';

type Action =
  | { readonly kind: 'turns'; readonly count: number }
  | {
      readonly kind: 'pump' | 'closeFront' | 'closeBack' | 'writeFrontState' | 'writeBackState';
      readonly state: number;
    }
  | { readonly kind: 'attach' | 'detach' | 'force' | 'move'; readonly id: number; readonly back: number }
  | { readonly kind: 'killGuest' | 'killDriver' | 'bootGuest' | 'bootDriver'; readonly domid: number };

const IDS = [0, 1];
const DRIVERS = [1, 9];
const GUEST = 2;

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('turns' as const), count: fc.integer({ min: 1, max: 12 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        ...(['pump', 'closeFront', 'closeBack', 'writeFrontState', 'writeFrontState', 'writeBackState'] as const),
      ),
      state: fc.integer({ min: 0, max: 9 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom(...(['attach', 'attach', 'detach', 'force', 'move'] as const)),
      id: fc.constantFrom(...IDS),
      back: fc.constantFrom(...DRIVERS),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom(...(['killGuest', 'killDriver', 'bootGuest', 'bootDriver'] as const)),
      domid: fc.constantFrom(...DRIVERS),
    }),
  },
);

class Chaos {
  readonly cluster: XenbusCluster;
  private readonly type: 'vbd' | 'vif';

  constructor(type: 'vbd' | 'vif') {
    this.type = type;
    this.cluster = new XenbusCluster({ type });
  }

  run(step: Action): void {
    const { cluster } = this;
    const { rig } = cluster;
    rig.clock.advance(5);
    if (step.kind === 'turns') for (let i = 0; i < step.count; i++) cluster.turn();
    else if (step.kind === 'pump') rig.pump();
    else if ('id' in step) this.toolstack(step.kind, step.id, step.back);
    else if ('domid' in step) this.life(step.kind, step.domid);
    else if (step.kind === 'closeFront') cluster.fronts.at(-1)?.device.publish({}, 5);
    else if (step.kind === 'closeBack') cluster.backs.at(-1)?.device.publish({}, 5);
    else this.scribble(step.kind, step.state);
    this.check();
  }

  /** Both ends up, the device there and healthy, whatever came before. */
  settle(): void {
    const { cluster } = this;
    const { rig } = cluster;
    rig.pump();
    for (const domid of [GUEST, ...DRIVERS]) this.life(domid === GUEST ? 'bootGuest' : 'bootDriver', domid);
    for (const id of IDS) {
      const device = this.device(id, 1);
      rig.ask<string>((then) => detachDevice(rig.toolstack, device, { isForced: true }, then));
      rig.pump();
      this.same(cluster.states(device), '-/-', 'detached');
      this.same(cluster.attach(device), 'ok', 'attach');
      this.same(cluster.states(device), '4/4', `device ${id} connects`);
    }
    for (const end of [...cluster.fronts, ...cluster.backs]) {
      if (end.isRemoved) this.same(end.connections.held, 0, 'a removed end holds nothing');
    }
    for (const id of IDS) {
      rig.ask<string>((then) => detachDevice(rig.toolstack, this.device(id, 1), {}, then));
    }
    const held = [...cluster.fronts, ...cluster.backs].reduce((sum, end) => sum + end.connections.held, 0);
    this.same(held, 0, 'connections left');
    for (const domid of [GUEST, ...DRIVERS]) cluster.kill(domid);
    rig.pump();
    const audit = rig.store.audit();
    this.same(audit.isConsistent, true, 'accounts');
    this.same(audit.watches, 0, 'watches');
    this.same(audit.transactions, 0, 'transactions');
    this.same(audit.heldBytes, 0, 'bytes held');
    this.same(audit.nodes <= 6, true, `${audit.nodes} nodes left`);
  }

  private device(id: number, back: number) {
    return { type: this.type, id: String(id), front: GUEST as DomId, back: back as DomId };
  }

  private toolstack(kind: 'attach' | 'detach' | 'force' | 'move', id: number, back: number): void {
    const { rig } = this.cluster;
    const device = this.device(id, back);
    if (kind === 'attach') {
      if (rig.domains.has(GUEST) && rig.domains.has(back)) this.cluster.attachQuietly(device);
    } else if (kind === 'move') {
      if (rig.domains.has(back)) reattachDevice(rig.dom0, device, () => {});
    } else {
      detachDevice(rig.toolstack, device, { isForced: kind === 'force' }, () => {});
    }
  }

  private life(kind: 'killGuest' | 'killDriver' | 'bootGuest' | 'bootDriver', driver: number): void {
    const { cluster } = this;
    const domid = kind.endsWith('Guest') ? GUEST : driver;
    const isUp = cluster.rig.domains.has(domid);
    if (kind.startsWith('kill') && isUp) cluster.kill(domid);
    else if (kind === 'bootGuest' && !isUp) cluster.guest(domid);
    else if (kind === 'bootDriver' && !isUp) cluster.driverDomain(domid);
    // The ends of a dead domain are gone with its memory.
    const prefix = `/local/domain/${domid}/`;
    if (!kind.startsWith('kill') || !isUp) return;
    for (const ends of [cluster.fronts, cluster.backs]) {
      for (let i = ends.length - 1; i >= 0; i--) if (ends[i]?.device.nodePath.startsWith(prefix)) ends.splice(i, 1);
    }
  }

  private scribble(kind: string, state: number): void {
    const { cluster } = this;
    const end = kind === 'writeFrontState' ? cluster.fronts.at(-1) : cluster.backs.at(-1);
    if (!end || end.isRemoved) return;
    // As the end's own domain would, or the toolstack; only a node that is there.
    const path = `${end.device.nodePath}/state`;
    cluster.rig.dom0.transaction((start) => {
      if (!start.ok) return;
      start.value.read(path, (reply) => {
        if (reply.ok) start.value.write(path, String(state));
        start.value.end(reply.ok, () => {});
      });
    });
  }

  private check(): void {
    const { cluster } = this;
    for (const end of [...cluster.fronts, ...cluster.backs]) {
      this.same(end.connections.most <= 1, true, 'never two connections at one end');
      if (end.isRemoved) this.same(end.connections.held, 0, 'a removed end holds nothing');
    }
  }

  private same<T>(got: T, expected: T, what: string): void {
    if (got !== expected) throw new Error(`${what}: got ${String(got)}, expected ${String(expected)}`);
  }
}

for (const type of ['vbd', 'vif'] as const) {
  test(`${type}s survive any order of attach, detach, move, death and scribbling, and leave nothing`, (t) => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 40, size: 'max' }), (actions) => {
        const chaos = new Chaos(type);
        chaos.cluster.driverDomain();
        chaos.cluster.guest();
        for (const step of actions) chaos.run(step);
        chaos.settle();
      }),
      { numRuns: 60, includeErrorInReport: true } as fc.Parameters<unknown>,
    );
    t.pass();
  });
}
