"""The commands of the plugin, as napari's menus call them (`napari.yaml`)."""

import napari
from qtpy.QtCore import QTimer

from al_jax.window.samples import LayerData, labels_of, sections_of
from al_jax.window.widget import Annotate, in_window

PLUGIN, WIDGET = "al_jax", "Annotate a stack"


def panel_of(viewer: napari.Viewer) -> Annotate:
    """The dock of a viewer, which is made if there is none."""
    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, Annotate):
            return widget
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    assert isinstance(widget, Annotate)
    return widget


def new_session() -> None:
    """Asks what a new session is of."""
    _panel().new_session()


def open_session() -> None:
    """Asks for the folder of a session."""
    _panel().choose_session()


def export_session() -> None:
    """Asks what to write of the open session."""
    _panel().export_session()


def shipped() -> list[LayerData]:
    """Sample data: the shipped stack."""
    return _sample("shipped")


def serial() -> list[LayerData]:
    """Sample data: made-up serial sections."""
    return _sample("serial")


def answered() -> list[LayerData]:
    """Sample data: a session of the shipped stack whose first examples are answered."""
    return _sample("answered")


def _panel() -> Annotate:
    viewer = napari.current_viewer()
    return in_window(napari.Viewer(show=False)) if viewer is None else panel_of(viewer)


def _sample(name: str) -> list[LayerData]:
    """The sections, in whose place a session of them is shown where there is a window."""
    viewer = napari.current_viewer()
    if viewer is None:
        return [sections_of(name), labels_of(name)]

    def take_its_place() -> None:
        for layer in list(viewer.layers):
            if layer.source.sample == (PLUGIN, name):
                viewer.layers.remove(layer)
        panel_of(viewer).make_sample(name)

    QTimer.singleShot(0, take_its_place)
    return [sections_of(name)]
