// The door for guest programs: what a guest's module imports.
export { type Disk, defineGuest, type GuestContext, type GuestProgram, type Nic } from '@splitring/frontend';
