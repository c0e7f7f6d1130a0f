// Front and back end find each other, connect, reconnect and part, in one thread.
import {
  attachDevice,
  type BackendHooks,
  createBackendDriver,
  createFrontendDriver,
  type DomId,
  detachDevice,
  type FrontendHooks,
  prepareDomain,
  XenbusBackend,
  XenbusFrontend,
} from '@splitring/hypervisor';
import test from 'ava';
import { StoreRig } from '../../support/store-rig.ts';

function cluster() {
  const rig = new StoreRig();
  const log: string[] = [];
  for (const domid of [1, 2]) {
    const reply = rig.ask<void>((then) => prepareDomain(rig.dom0, domid as DomId, `d${domid}`, then));
    if (!reply.ok) throw new Error(reply.error);
  }
  const driverDomain = rig.domain(1);
  const guest = rig.domain(2);
  const back: BackendHooks = {
    offer: (then) => then({ 'feature-x': 1 }),
    connect: (then) => {
      log.push('back connect');
      then({ sectors: 8 });
    },
    disconnect: () => log.push('back disconnect'),
    remove: () => log.push('back remove'),
  };
  const front: FrontendHooks = {
    handshake: (then) => {
      log.push('front handshake');
      then({ 'ring-ref': 8 });
    },
    live: (then) => {
      log.push('front live');
      then();
    },
    changed: () => log.push('front changed'),
    drain: (then) => {
      log.push('front drain');
      then();
    },
    disconnect: () => log.push('front disconnect'),
    remove: () => log.push('front remove'),
  };
  const backBus = new XenbusBackend(driverDomain.kernel, [
    { type: 'vbd', create: (device) => createBackendDriver(device, back) },
  ]);
  const frontBus = new XenbusFrontend(guest.kernel, [
    { type: 'vbd', create: (device) => createFrontendDriver(device, front) },
  ]);
  const spec = { type: 'vbd', id: '51712', front: 2 as DomId, back: 1 as DomId, backKeys: { params: 'vol0' } };
  return { rig, log, driverDomain, guest, backBus, frontBus, spec };
}

const FRONT = '/local/domain/2/device/vbd/51712';
const BACK = '/local/domain/1/backend/vbd/2/51712';

test('a device attached to running domains connects, is unplugged and leaves nothing', (t) => {
  const { rig, log, spec } = cluster();
  t.deepEqual(
    rig.ask<void>((then) => attachDevice(rig.dom0, spec, then)),
    { ok: true, value: undefined },
  );
  t.is(rig.value(`${FRONT}/state`), '4');
  t.is(rig.value(`${BACK}/state`), '4');
  t.is(rig.value(`${BACK}/sectors`), '8');
  t.deepEqual(log.splice(0), ['front handshake', 'back connect', 'front live']);
  const detached = rig.ask<string>((then) => detachDevice(rig.toolstack, spec, {}, then));
  t.deepEqual(detached, { ok: true, value: 'closed' });
  t.deepEqual(log, ['front drain', 'front disconnect', 'back disconnect', 'back remove', 'front remove']);
  t.is(rig.value(FRONT), undefined);
  t.is(rig.value(BACK), undefined);
});
