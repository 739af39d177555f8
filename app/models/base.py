"""The declarative base, and the column types that several tables share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from sqlalchemy import BigInteger, DateTime, Identity, Integer, MetaData, func
from sqlalchemy.orm import DeclarativeBase, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """All of Limbeck's tables."""

    metadata = MetaData(naming_convention=NAMING)


WorkspaceKey = Annotated[int, mapped_column(Integer, primary_key=True, autoincrement=False)]
DatasetKey = Annotated[int, mapped_column(BigInteger, primary_key=True, autoincrement=False)]
OwnKey = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
BigInt = Annotated[int, mapped_column(BigInteger)]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
