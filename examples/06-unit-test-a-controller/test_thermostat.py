"""A kind, its controller, and their test."""

from miren import Context, Controller, Entity, Model
from miren.reconcile.testing import reconcile_once


class ThermostatSpec(Model):
    celsius: int


class ThermostatStatus(Model):
    heating: bool = False


class Thermostat(Entity[ThermostatSpec, ThermostatStatus], api="example.dev/v1"): ...


class Heater(Controller[Thermostat]):
    async def reconcile(self, ctx: Context[Thermostat], thermostat: Thermostat) -> None:
        ctx.status = ThermostatStatus(heating=thermostat.spec.celsius > 18)
        ctx.ready("Set")


async def test_it_heats_when_somebody_wants_it_warm() -> None:
    out = await reconcile_once(Heater(), Thermostat.new("hall", celsius=21))
    assert out.entity.status.heating
